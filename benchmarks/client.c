/* The other side of every benchmark: one process that holds up to 20,000 streams, publishes to them, and
   checks that each of them got every message once and in order.

   client PORT GET POST TYPE BODY ORDER SIGHT ROOMS
     GET    path of the stream                      POST, TYPE   path and content type of a publication
     BODY   its body, in which {n} is the number of the message and {u} a UUID of it
     ROOMS  {r} in GET, POST and BODY is the number of a room, from 0 to ROOMS - 1: the streams and the messages
            go through all rooms in turn. With {r} in GET, open as many streams in each room
     ORDER  text before a number that must count up by one on every stream; with "=" in front: before numbers
            that every stream must have once each and in the same order (for several SENDERS)
     SIGHT  text before the number of the message, by which a latency is measured (may equal ORDER)

   Commands, one a line on stdin, each answered by one line of JSON:
     open COUNT BEHIND TAIL WINDOW   more streams, WINDOW connects at a time. With TAIL > 0 they come back with a
                                     Last-Event-ID of up to BEHIND before TAIL, and are open once TAIL was seen;
                                     BEHIND < 1: without a Last-Event-ID, and open once TAIL was seen.
                                     Any other status than 200 is a refusal, and not tried again
     lock COUNT                      messages, one in flight: the next when every stream has the one before
     burst COUNT SENDERS             messages as fast as SENDERS connections get their POSTs answered
     rate COUNT PER_SECOND SENDERS   messages at even intervals, until the next command at most
     idle MILLISECONDS               reads what comes, for so long
     close */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STREAMS = 20000, SENDERS = 512, MESSAGES = 1 << 20, BUCKETS = 4096, PER_ADDRESS = 10000 };
enum { CONNECTING, HEAD, READING, GONE };

typedef struct {
    int fd, state, matched_order, matched_sight, head_length, head_matched;
    long number, sight;        /* the digits being read, -1 outside of a number */
    long expected;             /* the next number of ORDER, 0 not known yet */
    int count;                 /* numbers of ORDER so far */
    long done_at;              /* open once this number was seen, 0 once the head was */
    int open;
    char previous;
    double began;
} Stream;

typedef struct { int fd, busy, matched, status; long left, number; double sent; char head[4096]; int length; } Sender;

static Stream streams[STREAMS];
static Sender senders[SENDERS];
static int stream_count, open_count, sender_count, gone_count, refused_count, ep;
static long order_errors, failed_posts, events, sightings, bytes_read, numbers_done, tail_seen;
static const char *get_path, *post_path, *post_type, *post_body, *order, *sight;
static int port, rooms, many_rooms, step = 1, same_order, same_marker;
static double *sent_at;
static int common[MESSAGES], common_count; /* with "=": the order in which the first to have them had them */
static char had[MESSAGES];
static long next_number = 1;
static long delivery[BUCKETS], posting[BUCKETS], opening[BUCKETS];
static double slowest_open;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* A histogram of microseconds: 64 buckets per power of two beyond 64. */
static int bucket(double seconds) {
    long us = seconds < 0 ? 0 : (long)(seconds * 1e6);
    if (us < 64) return (int)us;
    int shift = 63 - __builtin_clzl(us) - 6;
    int index = 64 + shift * 64 + (int)((us >> shift) - 64);
    return index < BUCKETS ? index : BUCKETS - 1;
}

static double percentile(long *histogram, double share) {
    long total = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) total += histogram[i];
    for (int i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (total && seen >= share * total) {
            if (i < 64) return i / 1e3;
            int shift = (i - 64) / 64;
            return (double)(((long)((i - 64) % 64 + 65)) << shift) / 1e3;
        }
    }
    return 0;
}

static int connect_from(int index, int *in_progress) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0) { perror("socket"); exit(1); }
    setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons(port)};
    from.sin_addr.s_addr = htonl(0x7f000002 + index / PER_ADDRESS);
    to.sin_addr.s_addr = htonl(0x7f000001);
    if (bind(fd, (void *)&from, sizeof from) < 0) { perror("bind"); exit(1); }
    *in_progress = connect(fd, (void *)&to, sizeof to) < 0;
    if (*in_progress && errno != EINPROGRESS) { perror("connect"); exit(1); }
    return fd;
}

static void watch(int fd, int events_wanted, long tag, int op) {
    struct epoll_event e = {.events = events_wanted, .data.u64 = tag};
    if (epoll_ctl(ep, op, fd, &e) < 0) { perror("epoll_ctl"); exit(1); }
}

static void begin_stream(int i, long behind, long tail) {
    Stream *s = &streams[i];
    int in_progress;
    memset(s, 0, sizeof *s);
    s->number = s->sight = -1;
    s->began = now();
    s->done_at = tail;
    if (tail && behind > 0) s->expected = tail - behind + 1;
    s->fd = connect_from(i, &in_progress);
    s->state = CONNECTING;
    watch(s->fd, EPOLLOUT, i, EPOLL_CTL_ADD);
}

/* The template with its {r} filled in. */
static const char *in_room(const char *template, long room) {
    static char text[1024];
    const char *place = strstr(template, "{r}");
    if (!place) return template;
    snprintf(text, sizeof text, "%.*s%ld%s", (int)(place - template), template, room, place + 3);
    return text;
}

static void gone(Stream *s, const char *where, int error) {
    if (gone_count++ < 3)
        fprintf(stderr, "client: stream %ld, after %.3f s: %s: %s\n", (long)(s - streams), now() - s->began, where,
                error ? strerror(error) : "closed by the server");
    s->state = GONE;
    close(s->fd);
}

static void opened(Stream *s) {
    double took = now() - s->began;
    s->open = 1;
    open_count++;
    opening[bucket(took)]++;
    if (took > slowest_open) slowest_open = took;
}

static void request_stream(int i) {
    Stream *s = &streams[i];
    char text[1024], position[64] = "";
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { gone(s, "connect", error); return; }
    if (s->done_at && s->expected) snprintf(position, sizeof position, "Last-Event-ID: %ld\r\n", s->expected - 1);
    int length = snprintf(text, sizeof text,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
        "Gecko/20100101 Firefox/128.0\r\nAccept: text/event-stream\r\nAccept-Language: en-US,en;q=0.5\r\n"
        "Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: http://127.0.0.1:%d/room?user=ann\r\n"
        "Connection: keep-alive\r\nCookie: flychat_user=ann\r\n%s"
        "Sec-Fetch-Dest: empty\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\n"
        "Pragma: no-cache\r\nCache-Control: no-cache\r\n\r\n",
        in_room(get_path, i % rooms), port, port, position);
    if (write(s->fd, text, length) != length) { gone(s, "write", errno); return; }
    s->state = HEAD;
    watch(s->fd, EPOLLIN, i, EPOLL_CTL_MOD);
}

static void ordered(Stream *s, long n) {
    long wanted = s->expected ? s->expected : n;
    if (same_order) {
        if (s->count == common_count && !had[n]) common[common_count++] = n;
        wanted = common[s->count++];
        had[n] = 1;
    }
    if (n != wanted && order_errors++ < 3) fprintf(stderr, "client: %ld instead of %ld\n", n, wanted);
    s->expected = n + step;
    numbers_done++;
    if (n > tail_seen) tail_seen = n;
    if (!s->open && s->done_at && n >= s->done_at) opened(s);
}

static void sighted(long n, double at) {
    sightings++;
    if (n > 0 && n < MESSAGES && sent_at[n] > 0) delivery[bucket(at - sent_at[n])]++;
}

/* Matches "\r\n\r\n" once, then ORDER and SIGHT, byte by byte, across reads. */
static void take(Stream *s, const char *data, int length, double at) {
    for (int i = 0; i < length; i++) {
        char c = data[i];
        if (s->state == HEAD) {
            if (s->head_length++ == 9 && c != '2') {
                s->state = GONE;
                refused_count++;
                close(s->fd);
                return;
            }
            s->head_matched = c == "\r\n\r\n"[s->head_matched] ? s->head_matched + 1 : c == '\r';
            if (s->head_matched == 4) {
                s->state = READING;
                if (!s->done_at) opened(s);
            }
            s->previous = c;
            continue;
        }
        if (c == '\n' && s->previous == '\n') events++;
        s->previous = c;
        if (s->number >= 0) {
            if (isdigit((unsigned char)c)) s->number = s->number * 10 + c - '0';
            else {
                ordered(s, s->number);
                if (same_marker) sighted(s->number, at);
                s->number = -1;
            }
        }
        if (c == order[s->matched_order]) {
            if (!order[++s->matched_order]) { s->matched_order = 0; s->number = 0; }
        } else s->matched_order = c == order[0];
        if (same_marker) continue;
        if (s->sight >= 0) {
            if (isdigit((unsigned char)c)) s->sight = s->sight * 10 + c - '0';
            else { sighted(s->sight, at); s->sight = -1; }
        }
        if (c == sight[s->matched_sight]) {
            if (!sight[++s->matched_sight]) { s->matched_sight = 0; s->sight = 0; }
        } else s->matched_sight = c == sight[0];
    }
}

static void read_stream(int i) {
    static char buffer[1 << 18];
    Stream *s = &streams[i];
    ssize_t got = recv(s->fd, buffer, sizeof buffer, 0);
    if (got > 0) { bytes_read += got; take(s, buffer, got, now()); }
    else if (got == 0 || (errno != EAGAIN && errno != EINTR)) gone(s, "read", got ? errno : 0);
}

static void begin_senders(int count) {
    int in_progress;
    while (sender_count < count) {
        Sender *p = &senders[sender_count];
        p->fd = connect_from(0, &in_progress);
        p->busy = 0;
        struct timeval patience = {10, 0};
        fcntl(p->fd, F_SETFL, fcntl(p->fd, F_GETFL) & ~O_NONBLOCK);
        setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        watch(p->fd, EPOLLIN, STREAMS + sender_count, EPOLL_CTL_ADD);
        sender_count++;
    }
}

static void send_message(Sender *p, long n) {
    static char body[1 << 16], text[(1 << 16) + 512];
    char *to = body;
    for (const char *from = post_body; *from; from++) {
        if (!strncmp(from, "{n}", 3)) { to += sprintf(to, "%08ld", n); from += 2; }
        else if (!strncmp(from, "{r}", 3)) { to += sprintf(to, "%ld", n % rooms); from += 2; }
        else if (!strncmp(from, "{u}", 3)) { to += sprintf(to, "00000000-0000-4000-8000-%012ld", n); from += 2; }
        else *to++ = *from;
    }
    int length = to - body;
    int size = snprintf(text, sizeof text,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
        in_room(post_path, n % rooms), port, post_type, length);
    memcpy(text + size, body, length);
    if (n < MESSAGES) sent_at[n] = now();
    p->sent = now();
    p->number = n;
    p->busy = 1;
    p->length = 0;
    p->left = -1;
    if (write(p->fd, text, size + length) != size + length) { perror("post"); exit(1); }
}

/* An answer: its status, and its end by Content-Length or by the last chunk. */
static void read_answer(Sender *p) {
    ssize_t got = recv(p->fd, p->head + p->length, sizeof p->head - 1 - p->length, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { fprintf(stderr, "client: a POST's connection was closed\n"); exit(1); }
    p->length += got;
    p->head[p->length] = 0;
    char *end = strstr(p->head, "\r\n\r\n");
    if (!end) return;
    char *field = strcasestr(p->head, "\r\ncontent-length:");
    if (field && field < end) {
        if (p->head + p->length < end + 4 + atol(field + 17)) return;
    } else if (strcasestr(p->head, "chunked") && !strstr(end, "0\r\n\r\n")) return;
    if (p->head[9] != '2' && failed_posts++ < 3) fprintf(stderr, "client: %.60s\n", p->head);
    p->busy = 0;
    posting[bucket(now() - p->sent)]++;
}

static void turn(int milliseconds) {
    static struct epoll_event ready[1024];
    int count = epoll_wait(ep, ready, 1024, milliseconds);
    for (int k = 0; k < count; k++) {
        long tag = ready[k].data.u64;
        if (tag >= STREAMS) read_answer(&senders[tag - STREAMS]);
        else if (streams[tag].state == CONNECTING) request_stream(tag);
        else if (streams[tag].state != GONE) read_stream(tag);
    }
}

static void reset(void) {
    memset(delivery, 0, sizeof delivery);
    memset(posting, 0, sizeof posting);
    memset(opening, 0, sizeof opening);
    slowest_open = 0;
    events = sightings = bytes_read = numbers_done = 0;
}

static double cpu(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_utime.tv_usec / 1e6 + u.ru_stime.tv_sec + u.ru_stime.tv_usec / 1e6;
}

static void report(double began, double cpu_began, int complete) {
    printf("{\"complete\": %s, \"seconds\": %.6f, \"client_cpu\": %.4f, \"streams\": %d, \"gone\": %d, "
           "\"refused\": %d, \"order_errors\": %ld, \"failed_posts\": %ld, \"events\": %ld, \"numbers\": %ld, "
           "\"sightings\": %ld, \"bytes\": %ld, \"tail\": %ld, \"delivery_ms\": [%.3f, %.3f, %.3f], \"post_ms\": [%.3f, %.3f, %.3f], "
           "\"open_ms\": [%.3f, %.3f, %.3f]}\n",
           complete ? "true" : "false", now() - began, cpu() - cpu_began, open_count, gone_count, refused_count,
           order_errors, failed_posts, events, numbers_done, sightings, bytes_read, tail_seen, percentile(delivery, 0.5),
           percentile(delivery, 0.99), percentile(delivery, 1), percentile(posting, 0.5),
           percentile(posting, 0.99), percentile(posting, 1), percentile(opening, 0.5),
           percentile(opening, 0.99), slowest_open * 1e3);
    fflush(stdout);
}

static long audience(void) {
    return many_rooms ? open_count / rooms : open_count;
}

static int told_more(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) > 0;
}

static int busy_senders(void) {
    int busy = 0;
    for (int i = 0; i < sender_count; i++) busy += senders[i].busy;
    return busy;
}

static Sender *free_sender(int count) {
    for (int i = 0; i < count; i++) if (!senders[i].busy) return &senders[i];
    return NULL;
}

int main(int argc, char **argv) {
    if (argc != 9) { fprintf(stderr, "client PORT GET POST TYPE BODY ORDER SIGHT ROOMS\n"); return 2; }
    port = atoi(argv[1]); get_path = argv[2]; post_path = argv[3]; post_type = argv[4]; post_body = argv[5];
    same_order = argv[6][0] == '=';
    order = argv[6] + same_order;
    sight = argv[7];
    rooms = atoi(argv[8]);
    same_marker = !strcmp(order, sight);
    many_rooms = strstr(get_path, "{r}") != NULL;
    if (many_rooms && same_marker) step = rooms; /* a room has each ROOMSth message */
    sent_at = calloc(MESSAGES, sizeof *sent_at);
    ep = epoll_create1(0);
    char line[256];
    while (fgets(line, sizeof line, stdin)) {
        if (!strcmp(line, "stop\n")) continue; /* it has ended a rate */
        char command[32];
        double a = 0, b = 0, c = 0, d = 0;
        if (sscanf(line, "%31s %lf %lf %lf %lf", command, &a, &b, &c, &d) < 1) continue;
        reset();
        double began = now(), cpu_began = cpu(), limit = began + 45;
        int complete = 1;
        if (!strcmp(command, "open")) {
            int goal = stream_count + (int)a, from = stream_count, window = (int)d;
            while (open_count + gone_count + refused_count < goal && now() < limit) {
                int started = 0;
                while (stream_count < goal && started++ < 64 &&
                       stream_count - open_count - gone_count - refused_count < window) {
                    long behind = b < 1 ? -1 : 1 + (stream_count - from) % (long)b;
                    begin_stream(stream_count++, behind, (long)c);
                }
                turn(stream_count < goal ? 0 : 20);
            }
            complete = open_count == goal;
        } else if (!strcmp(command, "lock")) {
            begin_senders(1);
            for (long k = 0; k < (long)a && now() < limit; k++) {
                long goal = numbers_done + audience();
                send_message(&senders[0], next_number++);
                while ((numbers_done < goal || senders[0].busy) && now() < limit) turn(100);
                complete = numbers_done >= goal;
            }
        } else if (!strcmp(command, "burst") || !strcmp(command, "rate")) {
            double rate = command[0] == 'r' ? b : 0, due = now();
            int count = rate ? (int)c : (int)b;
            long left = (long)a, goal = left * audience();
            begin_senders(count);
            long failed = failed_posts;
            while ((left || numbers_done < goal || sightings < goal || busy_senders()) && now() < limit) {
                Sender *p;
                if (rate && left && told_more()) { goal -= left * audience(); left = 0; }
                goal -= (failed_posts - failed) * audience();
                failed = failed_posts;
                while (left && (!rate || now() >= due) && (p = free_sender(count))) {
                    due += rate ? 1 / rate : 0;
                    send_message(p, next_number++);
                    left--;
                }
                double wait = rate && left ? (due - now()) * 1e3 : 100;
                turn(wait < 0 ? 0 : (int)wait);
            }
            complete = numbers_done >= goal && sightings >= goal;
        } else if (!strcmp(command, "idle")) {
            double until = now() + a / 1e3;
            while (now() < until) turn((int)((until - now()) * 1e3) + 1);
        } else if (!strcmp(command, "close")) {
            struct linger hard = {1, 0};
            for (int i = 0; i < stream_count; i++)
                if (streams[i].state != GONE) {
                    setsockopt(streams[i].fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
                    close(streams[i].fd);
                }
            stream_count = open_count = gone_count = refused_count = 0;
        } else { fprintf(stderr, "client: what is %s?\n", command); return 2; }
        report(began, cpu_began, complete);
    }
    return 0;
}
