/* Clients that post at a rate, whether the server keeps up or not: the other side of `overload`.

   rush PORT POST TYPE BODY ROOMS CLIENTS PATIENCE_MS  PER_SECOND SECONDS  [PER_SECOND SECONDS]...
     POST, TYPE  path and content type of a message     BODY  its body; {n} is its number, {u} a UUID of it
     ROOMS       {r} in POST and BODY is the number of a room, from 0 to ROOMS - 1, by turns
     Then phases, one after the other: so many messages a second, for so long.

   A message that is due is posted by the client that has had nothing to do for longest, on its connection if it
   has one. If all CLIENTS are waiting for answers, it is not sent. A client waits for PATIENCE_MS; then it closes
   its connection, as a browser does, and is there for another message.

   stdout has a record of three 32-bit numbers for each message: when it was sent, in us since the first; after how
   many us its answer was there; and the status of that, or GAVE_UP, CLOSED or UNSENT. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS = 20000, PER_ADDRESS = 10000, AT_ONCE = 64, GAVE_UP = 0, CLOSED = -1, UNSENT = -2 };

typedef struct {
    int fd;            /* -1 without a connection */
    int waiting, length;
    long number;       /* of the message that it sends */
    double sent;
    int before, after; /* its neighbours in the line of those who wait, who came first at its head; -1: none */
    char answer[2048];
} Client;

static Client clients[CLIENTS];
static int idle[CLIENTS], idle_first, idle_count; /* a ring */
static int head = -1, tail = -1, ep, port, rooms, client_count;
static const char *post_path, *post_type, *post_body;
static double began;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void record(double sent, double took, int status) {
    int32_t numbers[3] = {(int32_t)((sent - began) * 1e6), (int32_t)(took * 1e6), status};
    if (fwrite(numbers, sizeof numbers, 1, stdout) != 1) { perror("stdout"); exit(1); }
}

static void watch(Client *c, int events, int op) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(ep, op, c->fd, &e) < 0) { perror("epoll_ctl"); exit(1); }
}

static void hang_up(Client *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
}

static void wait_in_line(Client *c) {
    c->waiting = 1;
    c->sent = now();
    c->length = 0;
    c->before = tail;
    c->after = -1;
    if (tail >= 0) clients[tail].after = c - clients; else head = c - clients;
    tail = c - clients;
}

/* The client has its answer, or none; and has nothing to do then. */
static void settle(Client *c, int status) {
    record(c->sent, now() - c->sent, status);
    c->waiting = 0;
    if (c->before >= 0) clients[c->before].after = c->after; else head = c->after;
    if (c->after >= 0) clients[c->after].before = c->before; else tail = c->before;
    idle[(idle_first + idle_count++) % client_count] = c - clients;
}

static void fail(Client *c, int status) {
    hang_up(c);
    if (c->waiting) settle(c, status);
}

static char *fill(char *to, const char *from, long n) {
    for (; *from; from++) {
        if (!strncmp(from, "{n}", 3)) { to += sprintf(to, "%08ld", n); from += 2; }
        else if (!strncmp(from, "{r}", 3)) { to += sprintf(to, "%ld", n % rooms); from += 2; }
        else if (!strncmp(from, "{u}", 3)) { to += sprintf(to, "00000000-0000-4000-a000-%012ld", n); from += 2; }
        else *to++ = *from;
    }
    *to = 0;
    return to;
}

static void post(Client *c) {
    static char body[8192], path[1024], text[16384];
    int length = fill(body, post_body, c->number) - body;
    fill(path, post_path, c->number);
    int size = snprintf(text, sizeof text,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
        path, port, post_type, length, body);
    if (send(c->fd, text, size, MSG_NOSIGNAL) != size) fail(c, CLOSED);
}

static void begin(Client *c, int index) {
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1;
    wait_in_line(c);
    if (c->fd >= 0) { post(c); return; }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) { perror("socket"); exit(1); }
    setsockopt(c->fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    from.sin_addr.s_addr = htonl(0x7f000002 + index / PER_ADDRESS);
    to.sin_addr.s_addr = htonl(0x7f000001);
    if (bind(c->fd, (void *)&from, sizeof from) < 0) { perror("bind"); exit(1); }
    if (connect(c->fd, (void *)&to, sizeof to) < 0 && errno != EINPROGRESS) { fail(c, CLOSED); return; }
    watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

/* Whether the whole answer is here: up to its Content-Length, or to the last chunk. */
static int complete(Client *c) {
    char *end = strstr(c->answer, "\r\n\r\n"), *field = strcasestr(c->answer, "\r\ncontent-length:");
    if (!end) return 0;
    if (field && field < end) return c->answer + c->length >= end + 4 + atol(field + 17);
    return !strcasestr(c->answer, "chunked") || strstr(end, "0\r\n\r\n");
}

static void ready(Client *c, int events) {
    if (c->fd < 0) return; /* it has hung up in this turn */
    if (events & EPOLLOUT) {
        watch(c, EPOLLIN, EPOLL_CTL_MOD);
        post(c);
        return;
    }
    char *free_space = c->answer + c->length;
    ssize_t got = recv(c->fd, free_space, sizeof c->answer - 1 - c->length, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0 || !c->waiting) { fail(c, CLOSED); return; }
    c->length += got;
    c->answer[c->length] = 0;
    if (complete(c)) settle(c, atoi(c->answer + 9));
    else if (c->length == sizeof c->answer - 1) fail(c, CLOSED);
}

static void turn(int milliseconds, double patience) {
    static struct epoll_event events[1024];
    int count = epoll_wait(ep, events, 1024, milliseconds);
    for (int k = 0; k < count; k++) ready(events[k].data.ptr, events[k].events);
    while (head >= 0 && now() - clients[head].sent > patience) fail(&clients[head], GAVE_UP);
}

int main(int argc, char **argv) {
    if (argc < 10 || argc % 2) {
        fprintf(stderr, "rush PORT POST TYPE BODY ROOMS CLIENTS PATIENCE_MS PER_SECOND SECONDS ...\n");
        return 2;
    }
    port = atoi(argv[1]); post_path = argv[2]; post_type = argv[3]; post_body = argv[4];
    rooms = atoi(argv[5]);
    client_count = atoi(argv[6]);
    double patience = atof(argv[7]) / 1e3, due, end;
    long number = 0;
    if (client_count < 1 || client_count > CLIENTS) { fprintf(stderr, "rush: 1 to %d clients\n", CLIENTS); return 2; }
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    ep = epoll_create1(0);
    for (int i = 0; i < client_count; i++) {
        clients[i].fd = -1;
        idle[idle_count++] = i;
    }
    due = end = began = now();
    for (int k = 8; k < argc; k += 2) {
        double interval = 1 / atof(argv[k]);
        end += atof(argv[k + 1]);
        while (now() < end) {
            for (int i = 0; i < AT_ONCE && due <= now() && due < end; i++, due += interval) {
                if (!idle_count) { record(now(), 0, UNSENT); continue; }
                int index = idle[idle_first];
                idle_first = (idle_first + 1) % client_count;
                idle_count--;
                clients[index].number = ++number;
                begin(&clients[index], index);
            }
            turn(due > now() ? 1 : 0, patience);
        }
        due = end;
    }
    while (head >= 0) turn(10, patience);
    return fflush(stdout) ? 1 : 0;
}
