"""The console: pages of the control plane for people, made of the answers of its API.

A page is a function of the API and a request; it needs neither a server nor a database.
"""
