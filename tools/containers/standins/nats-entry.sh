#!/bin/sh
# An argument that begins with "-" is one of the server's.
set -e
case "$1" in -*) set -- nats-server "$@" ;; esac
exec "$@"
