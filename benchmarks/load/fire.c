/* Sends HTTP requests over keep-alive connections as fast as they are answered.
 *
 *     fire HOST PORT CONNECTIONS COUNT FILE
 *
 * FILE holds requests, each behind its length in four bytes (little endian); they are sent in
 * order, from the beginning again after the last, COUNT in all. Each connection has one request
 * on its way. Prints one line: answers of status 2xx, others, seconds, then the latencies of all
 * answers in microseconds at p50, p90, p99 and the longest.
 */
#include "kept.h"

static char **requests;
static uint32_t *lengths;
static size_t kinds;
static long next_request, count, good, bad;
static double *latencies;

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

static void send_next(struct connection *c) {
    size_t kind = next_request++ % kinds;
    ask(c, requests[kind], lengths[kind]);
}

/* Read what came; ask again when the answer is there. */
static void take(struct connection *c) {
    int status = heard(c);
    if (!status) return;
    latencies[good + bad] = now() - c->sent_at;
    if (status / 100 == 2) good++;
    else if (!bad++) fprintf(stderr, "%.400s\n", c->answer);
    if (next_request < count) send_next(c);
}

int main(int argc, char **argv) {
    struct sockaddr_in address;
    struct epoll_event ready[64];
    struct connection *connections;
    int poll = epoll_create1(0), number, i;
    double began, took;
    if (argc != 6) return 2;
    address = address_of(argv[1], argv[2]);
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
