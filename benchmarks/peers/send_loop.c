/* The physical limit: one process that answers a stream request with a head and up to 50 messages, and has
   every POST's body sent to all, in a bare loop of send. No HTTP but what the benchmark's client speaks. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILES = 20100, KEPT = 64, BLOCK = 4096 };

static int held[FILES], count, place[FILES];
static char kept[KEPT][BLOCK];
static int sizes[KEPT];
static long tail;

static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
                           "Connection: close\r\n\r\n";
static const char OK[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void drop(int fd) {
    if (place[fd]) {
        int last = held[--count];
        held[place[fd] - 1] = last;
        place[last] = place[fd];
        place[fd] = 0;
    }
    close(fd);
}

static void open_stream(int fd, const char *head) {
    char *field = strstr(head, "Last-Event-ID: ");
    static char answer[sizeof HEAD + KEPT * BLOCK];
    int size = sizeof HEAD - 1;
    memcpy(answer, HEAD, size);
    if (field)
        for (long n = atol(field + 15) + 1; n <= tail; n++) {
            memcpy(answer + size, kept[n % KEPT], sizes[n % KEPT]);
            size += sizes[n % KEPT];
        }
    send(fd, answer, size, MSG_NOSIGNAL);
    held[count++] = fd;
    place[fd] = count;
}

static void publish(int fd, const char *head) {
    char *body = strstr(head, "\r\n\r\n") + 4;
    int size = atoi(strstr(head, "Content-Length: ") + 16);
    tail++;
    memcpy(kept[tail % KEPT], body, size);
    sizes[tail % KEPT] = size;
    for (int i = 0; i < count; i++) send(held[i], body, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    send(fd, OK, sizeof OK - 1, MSG_NOSIGNAL);
}

int main(int argc, char **argv) {
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, ep = epoll_create1(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (void *)&at, sizeof at) || listen(door, 4096)) { perror("listen"); return 1; }
    struct epoll_event e = {.events = EPOLLIN, .data.fd = door}, ready[512];
    epoll_ctl(ep, EPOLL_CTL_ADD, door, &e);
    for (;;) {
        int n = epoll_wait(ep, ready, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = ready[i].data.fd;
            static char text[1 << 16];
            if (fd == door) {
                while ((fd = accept4(door, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    e.events = EPOLLIN;
                    e.data.fd = fd;
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
                }
                continue;
            }
            ssize_t got = recv(fd, text, sizeof text - 1, 0);
            if (got <= 0) {
                if (got == 0 || errno != EAGAIN) drop(fd);
                continue;
            }
            text[got] = 0;
            if (text[0] == 'G') open_stream(fd, text);
            else publish(fd, text);
        }
    }
}
