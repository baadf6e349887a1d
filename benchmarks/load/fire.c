/* Sends HTTP requests over keep-alive connections as fast as they are answered.
 *
 *     fire HOST PORT CONNECTIONS COUNT FILE
 *
 * FILE holds requests, each behind its length in four bytes (little endian); they are sent in
 * order, from the beginning again after the last, COUNT in all. Each connection has one request
 * on its way. Prints one line: answers of status 2xx, others, seconds, then the latencies of all
 * answers in microseconds at p50, p90, p99 and the longest.
 */
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
};

static char **requests;
static uint32_t *lengths;
static size_t kinds;
static long next_request, count, good, bad;
static double *latencies;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void load(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t length;
    if (file == NULL) die(path);
    while (fread(&length, 4, 1, file) == 1) {
        requests = realloc(requests, (kinds + 1) * sizeof *requests);
        lengths = realloc(lengths, (kinds + 1) * sizeof *lengths);
        requests[kinds] = malloc(length);
        lengths[kinds] = length;
        if (fread(requests[kinds++], 1, length, file) != length) die("a request is cut off");
    }
    fclose(file);
}

/* Requests are small, and the socket's buffer is empty between them. */
static void send_next(struct connection *c) {
    size_t kind = next_request++ % kinds, sent = 0;
    c->have = 0;
    c->sent_at = now();
    while (sent < lengths[kind]) {
        ssize_t wrote = write(c->fd, requests[kind] + sent, lengths[kind] - sent);
        if (wrote < 0 && errno != EAGAIN) die("write");
        if (wrote > 0) sent += (size_t)wrote;
    }
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

/* Read what came; ask again when the answer is there. */
static void take(struct connection *c) {
    for (;;) {
        ssize_t got = read(c->fd, c->answer + c->have, ROOM - 1 - c->have);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) die("the connection was closed");
        c->have += (size_t)got;
        if (!is_complete(c)) continue;
        latencies[good + bad] = now() - c->sent_at;
        if (c->have > 9 && c->answer[9] == '2') good++;
        else if (!bad++) fprintf(stderr, "%.400s\n", c->answer);
        if (next_request < count) send_next(c);
        return;
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void open_one(struct connection *c, const struct sockaddr_in *address, int poll) {
    int on = 1;
    struct epoll_event wanted = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->answer = malloc(ROOM);
    if (connect(c->fd, (const struct sockaddr *)address, sizeof *address)) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &wanted);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event ready[64];
    struct connection *connections;
    int poll = epoll_create1(0), number, i;
    double began, took;
    if (argc != 6) return 2;
    address.sin_addr.s_addr = inet_addr(argv[1]);
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    number = atoi(argv[3]);
    count = atol(argv[4]);
    load(argv[5]);
    latencies = calloc((size_t)count, sizeof *latencies);
    connections = calloc((size_t)number, sizeof *connections);
    for (i = 0; i < number; i++) open_one(&connections[i], &address, poll);
    began = now();
    for (i = 0; i < number && next_request < count; i++) send_next(&connections[i]);
    while (good + bad < count) {
        int found = epoll_wait(poll, ready, 64, SILENCE_MS);
        if (found == 0) {
            fprintf(stderr, "no answer any more\n");
            return 1;
        }
        for (i = 0; i < found; i++) take(ready[i].data.ptr);
    }
    took = now() - began;
    qsort(latencies, (size_t)count, sizeof *latencies, by_value);
    printf("%ld %ld %.6f %.0f %.0f %.0f %.0f\n", good, bad, took, latencies[count / 2] * 1e6,
           latencies[count * 9 / 10] * 1e6, latencies[count * 99 / 100] * 1e6,
           latencies[count - 1] * 1e6);
    return 0;
}
