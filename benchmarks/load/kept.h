/* What the compiled clients share: kept HTTP connections, clocks, and the middle of times. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM (1 << 22)
#define SILENCE_MS 35000

struct connection {
    int fd;
    size_t have; /* bytes of the answer so far */
    char *answer;
    double sent_at;
    void *about; /* of the caller */
};

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in address_of(const char *host, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = inet_addr(host);
    address.sin_port = htons((uint16_t)atoi(port));
    return address;
}

static int connected(const struct sockaddr_in *address, int poll, void *about) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = about};
    if (connect(fd, (const struct sockaddr *)address, sizeof *address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poll, EPOLL_CTL_ADD, fd, &wanted);
    return fd;
}

static void open_one(struct connection *c, const struct sockaddr_in *address, int poll) {
    c->answer = malloc(ROOM);
    c->fd = connected(address, poll, c);
}

/* What is sent is small, and the socket's buffer is nearly empty. */
static void send_all(int fd, const char *data, size_t length) {
    size_t sent = 0;
    while (sent < length) {
        ssize_t wrote = write(fd, data + sent, length - sent);
        if (wrote < 0 && errno != EAGAIN) die("write");
        if (wrote > 0) sent += (size_t)wrote;
    }
}

static void ask(struct connection *c, const char *request, size_t length) {
    c->have = 0;
    c->sent_at = now();
    send_all(c->fd, request, length);
}

/* Whether the answer is complete; only answers with a length are understood. */
static int is_complete(struct connection *c) {
    char *end, *field;
    c->answer[c->have] = 0;
    end = strstr(c->answer, "\r\n\r\n");
    if (end == NULL) return 0;
    *end = 0;
    field = strcasestr(c->answer, "content-length:");
    *end = '\r';
    if (field == NULL) {
        fprintf(stderr, "an answer without a length: %.200s\n", c->answer);
        exit(1);
    }
    return c->have >= (size_t)(end - c->answer) + 4 + strtoul(field + 15, NULL, 10);
}

/* Read what came; return the answer's status once it is complete, 0 before. */
static int heard(struct connection *c) {
    for (;;) {
        ssize_t got = read(c->fd, c->answer + c->have, ROOM - 1 - c->have);
        if (got < 0 && errno == EAGAIN) return 0;
        if (got <= 0) die("the connection was closed");
        c->have += (size_t)got;
        if (is_complete(c)) return atoi(c->answer + 9);
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
