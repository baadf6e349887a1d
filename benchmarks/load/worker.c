/* Plays the existing pull worker, as worker.py does, for a tenth of its processor time.
 *
 *     worker NATS_HOST NATS_PORT LOGIN HTTP_HOST HTTP_PORT STREAM DURABLE CONFIG PERMITS NAME
 *
 * LOGIN is "user:password" or empty; CONFIG the request that makes the durable. It runs until its
 * input is closed, and then prints how many commands it has run, and the median milliseconds of a
 * claim and of an event.
 */
#include "kept.h"

#define IDLE_SECONDS 0.1
#define EPOCH_MS 1704067200000ULL
#define TEXT 4096
#define INFO 1 /* numbers of subscriptions */
#define MESSAGE 2

/* One command, from its notification to the answer to its last event. */
struct run {
    struct run *next;
    char execution[32], event[32], command[512], step[256], login[1024], reply[512];
    int events; /* answered or on their way */
};

enum pulling { WITHOUT_PERMIT, LOOKING_UP, WAITING, CLAIMING, IDLE };

static struct sockaddr_in http;
static int poller, broker, permits;
static char *from_broker;
static size_t have;
static enum pulling state;
static double idle_until;
static const char *stream, *durable, *name;
static char info_inbox[64], message_inbox[64];
static struct connection *free_connections[256];
static int free_count;
static struct run *free_runs;
static double *claims, *posts;
static long claimed, posted, done, room;

static void tell(const char *subject, const char *reply, const char *body) {
    char frame[2 * TEXT];
    int length = snprintf(frame, sizeof frame, "PUB %s %s %zu\r\n%s\r\n", subject, reply,
                          strlen(body), body);
    send_all(broker, frame, (size_t)length);
}

/* Look the consumer up, as the original does before each message. */
static void look_up(void) {
    char subject[TEXT];
    state = LOOKING_UP;
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.INFO.%s.%s", stream, durable);
    tell(subject, info_inbox, "");
}

static void pull(void) {
    char subject[TEXT];
    state = WAITING;
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", stream, durable);
    tell(subject, message_inbox, "{\"batch\":1,\"no_wait\":true}");
}

static void take_permit(void) {
    state = WITHOUT_PERMIT;
    if (permits == 0) return;
    permits--;
    look_up();
}

/* Copy a member of the note: a text without its quotes, or a number. */
static void member(const char *note, const char *key, char *into, size_t size) {
    char wanted[64];
    const char *at, *end;
    snprintf(wanted, sizeof wanted, "\"%s\":", key);
    at = strstr(note, wanted);
    if (at == NULL) die(key);
    at += strlen(wanted);
    while (*at == ' ') at++;
    if (*at == '"') end = strchr(++at, '"');
    else end = at + strspn(at, "0123456789");
    if (end == NULL || (size_t)(end - at) >= size) die(key);
    memcpy(into, at, (size_t)(end - at));
    into[end - at] = 0;
}

/* Write the login of an address as Basic wants it. */
static void encode_login(const char *address, char *into) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = strstr(address, "//"), *end = strrchr(address, '@');
    unsigned char plain[1024] = {0};
    size_t length = 0, i;
    *into = 0;
    if (at == NULL || end == NULL) return;
    for (at += 2; at < end && length < 700; at++) {
        unsigned int value;
        if (*at == '%' && sscanf(at + 1, "%2x", &value) == 1) {
            plain[length++] = (unsigned char)value;
            at += 2;
        } else plain[length++] = (unsigned char)*at;
    }
    for (i = 0; i < length; i += 3) {
        unsigned int bits = plain[i] << 16 | plain[i + 1] << 8 | plain[i + 2];
        *into++ = digits[bits >> 18];
        *into++ = digits[bits >> 12 & 63];
        *into++ = i + 1 < length ? digits[bits >> 6 & 63] : '=';
        *into++ = i + 2 < length ? digits[bits & 63] : '=';
    }
    *into = 0;
}

static void request(struct connection *c, const char *path, const char *body) {
    struct run *run = c->about;
    char text[2 * TEXT];
    int length = snprintf(text, sizeof text,
                          "POST %s HTTP/1.1\r\nhost: 127.0.0.1\r\n%s%s%s"
                          "content-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                          path, *run->login ? "authorization: Basic " : "", run->login,
                          *run->login ? "\r\n" : "", strlen(body), body);
    ask(c, text, (size_t)length);
}

static struct connection *free_connection(void) {
    struct connection *c;
    if (free_count) return free_connections[--free_count];
    c = calloc(1, sizeof *c);
    open_one(c, &http, poller);
    return c;
}

static void claim(const char *note, const char *reply) {
    char path[128], body[TEXT], address[1024];
    struct connection *c = free_connection();
    struct run *run = free_runs;
    if (run == NULL) run = malloc(sizeof *run);
    else free_runs = run->next;
    state = CLAIMING;
    member(note, "execution_id", run->execution, sizeof run->execution);
    member(note, "event_id", run->event, sizeof run->event);
    member(note, "command_id", run->command, sizeof run->command);
    member(note, "step", run->step, sizeof run->step);
    member(note, "server_url", address, sizeof address);
    encode_login(address, run->login);
    snprintf(run->reply, sizeof run->reply, "%s", reply);
    run->events = 0;
    c->about = run;
    snprintf(path, sizeof path, "/api/commands/%s/claim", run->event);
    snprintf(body, sizeof body, "{\"worker_id\":\"%s\"}", name);
    request(c, path, body);
}

static void post_next(struct connection *c) {
    static const char *types[] = {"command.started", "call.done", "command.completed"};
    static const char *statuses[] = {"STARTED", "COMPLETED", "success"};
    static const char *contexts[] = {
        "",
        ",\"call_index\":0,\"result\":{\"status\":\"success\","
        "\"context\":{\"status\":\"success\",\"data\":{}}}",
        ",\"status\":\"success\"",
    };
    static unsigned long count;
    struct run *run = c->about;
    struct timespec t;
    struct tm parts;
    char body[TEXT], when[64];
    unsigned long long id, i, node = 0;
    clock_gettime(CLOCK_REALTIME, &t);
    gmtime_r(&t.tv_sec, &parts);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &parts);
    for (i = 0; name[i]; i++) node = node * 31 + (unsigned char)name[i];
    id = t.tv_sec * 1000ULL + t.tv_nsec / 1000000ULL - EPOCH_MS;
    id = id << 22 | (node & 0x3FF) << 12 | (++count & 0xFFF);
    snprintf(body, sizeof body,
             "{\"execution_id\":%s,\"event_type\":\"%s\",\"step\":\"%s\",\"status\":\"%s\","
             "\"created_at\":\"%s.%06ldZ\",\"context\":{\"command_id\":\"%s\"%s},"
             "\"event_id\":%llu,\"worker_id\":\"%s\",\"meta\":{\"attempts\":0}}",
             run->execution, types[run->events], run->step, statuses[run->events], when,
             t.tv_nsec / 1000, run->command, contexts[run->events], id, name);
    run->events++;
    request(c, "/api/events", body);
}

static void note_time(double **times, long *number, double began) {
    if (claimed >= room || posted >= room) {
        room += 65536;
        claims = realloc(claims, (size_t)room * sizeof *claims);
        posts = realloc(posts, (size_t)room * sizeof *posts);
    }
    (*times)[(*number)++] = (now() - began) * 1000;
}

static void end_run(struct connection *c) {
    struct run *run = c->about;
    run->next = free_runs;
    free_runs = run;
    free_connections[free_count++] = c;
}

static void take_answer(struct connection *c) {
    struct run *run = c->about;
    int status = heard(c);
    if (!status) return;
    if (run->events == 0) {
        note_time(&claims, &claimed, c->sent_at);
        tell(run->reply, "", status == 200 || status == 409 ? "+ACK" : "-NAK");
        if (status == 200) {
            post_next(c);
            take_permit();
        } else {
            end_run(c);
            look_up();
        }
        return;
    }
    note_time(&posts, &posted, c->sent_at);
    if (status != 200) {
        fprintf(stderr, "%.600s\n", c->answer);
        exit(1);
    }
    if (run->events < 3) {
        post_next(c);
        return;
    }
    end_run(c);
    done++;
    permits++;
    if (state == WITHOUT_PERMIT) take_permit();
}

/* A message of the broker; behind the protocol's name its headers tell a status, if that is all. */
static void take_message(int subscription, const char *reply, const char *headers,
                         const char *body) {
    if (subscription == INFO) {
        if (state == LOOKING_UP) pull();
    } else if (subscription == MESSAGE && state == WAITING) {
        if (strncmp(headers, "NATS/1.0 ", 9) == 0) {
            state = IDLE;
            idle_until = now() + IDLE_SECONDS;
        } else claim(body, reply);
    }
}

/* Take one operation from the front of what the broker sent; return its length, 0 if it is cut. */
static size_t take_operation(char *text, size_t length) {
    char *end = memmem(text, length, "\r\n", 2), reply[512] = "";
    size_t head = 0, size = 0, line;
    int fields, subscription = 0;
    if (end == NULL) return 0;
    *end = 0;
    line = (size_t)(end - text) + 2;
    if (strncmp(text, "PING", 4) == 0) send_all(broker, "PONG\r\n", 6);
    if (strncmp(text, "-ERR", 4) == 0) die(text);
    if (strncmp(text, "MSG ", 4) == 0) {
        fields = sscanf(text, "MSG %*s %d %511s %zu", &subscription, reply, &size);
        if (fields < 3) {
            size = strtoul(reply, NULL, 10);
            *reply = 0;
        }
    } else if (strncmp(text, "HMSG ", 5) == 0) {
        fields = sscanf(text, "HMSG %*s %d %511s %zu %zu", &subscription, reply, &head, &size);
        if (fields < 4) {
            size = head;
            head = strtoul(reply, NULL, 10);
            *reply = 0;
        }
    } else return line;
    *end = '\r';
    if (length < line + size + 2) return 0;
    text[line + size] = 0;
    take_message(subscription, reply, head ? text + line : "", text + line + head);
    return line + size + 2;
}

static void hear_broker(void) {
    ssize_t got;
    size_t at = 0, length;
    while ((got = read(broker, from_broker + have, ROOM - 1 - have)) > 0) have += (size_t)got;
    if (got == 0) die("the broker closed the connection");
    while (at < have && (length = take_operation(from_broker + at, have - at))) at += length;
    memmove(from_broker, from_broker + at, have -= at);
}

static double middle(double *times, long number) {
    if (!number) return 0;
    qsort(times, (size_t)number, sizeof *times, by_value);
    return times[number / 2];
}

static void greet(const char *login, const char *config) {
    char text[TEXT], subject[TEXT], *password = strchr(login, ':');
    int length = snprintf(text, sizeof text,
                          "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,"
                          "\"no_responders\":true,\"lang\":\"c\",\"version\":\"1\"");
    if (password != NULL)
        length += snprintf(text + length, sizeof text - (size_t)length,
                           ",\"user\":\"%.*s\",\"pass\":\"%s\"", (int)(password - login), login,
                           password + 1);
    length += snprintf(text + length, sizeof text - (size_t)length,
                       "}\r\nSUB %s %d\r\nSUB %s %d\r\n", info_inbox, INFO,
                       message_inbox, MESSAGE);
    send_all(broker, text, (size_t)length);
    snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DURABLE.CREATE.%s.%s", stream, durable);
    tell(subject, "", config);
}

int main(int argc, char **argv) {
    struct sockaddr_in address;
    struct epoll_event ready[64], input = {.events = EPOLLIN};
    if (argc != 11) return 2;
    address = address_of(argv[1], argv[2]);
    http = address_of(argv[4], argv[5]);
    stream = argv[6];
    durable = argv[7];
    permits = atoi(argv[9]);
    name = argv[10];
    if (permits > 200) return 2;
    snprintf(info_inbox, sizeof info_inbox, "_INBOX.player%d.info", getpid());
    snprintf(message_inbox, sizeof message_inbox, "_INBOX.player%d.message", getpid());
    poller = epoll_create1(0);
    from_broker = malloc(ROOM);
    broker = connected(&address, poller, &broker);
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &input);
    greet(argv[3], argv[8]);
    take_permit();
    for (;;) {
        double left = state == IDLE ? idle_until - now() : 1;
        int found = epoll_wait(poller, ready, 64, left > 0 ? (int)(left * 1000) + 1 : 0), i;
        for (i = 0; i < found; i++) {
            if (ready[i].data.ptr == &broker) hear_broker();
            else if (ready[i].data.ptr != NULL) take_answer(ready[i].data.ptr);
            else {
                double claim_ms = middle(claims, claimed), post_ms = middle(posts, posted);
                printf("%ld %.3f %.3f\n", done, claim_ms, post_ms);
                return 0;
            }
        }
        if (state == IDLE && now() >= idle_until) look_up();
    }
}
