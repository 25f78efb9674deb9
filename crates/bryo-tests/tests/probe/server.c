// SPDX-License-Identifier: Apache-2.0
// A server that tells each client as whom it sees it, on every port that its arguments name.
#include "probe.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

struct place {
    const char *protocol;
    int port;
};

// Both families on one socket, as most servers have it.
static int open_place(struct place place) {
    int datagrams = strcmp(place.protocol, "udp") == 0, off = 0, on = 1;
    int fd = socket(AF_INET6, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 all = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)place.port)};
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&all, sizeof all) < 0 || (!datagrams && listen(fd, 16) < 0)) return -1;
    return fd;
}

static int describe(char *text, size_t size, struct place place, const struct sockaddr_in6 *client, socklen_t length) {
    char address[64], port[16];
    getnameinfo((const struct sockaddr *)client, length, address, sizeof address, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    const char *mapped = strncmp(address, "::ffff:", 7) == 0 ? address + 7 : address;
    return snprintf(text, size, "%d/%s sees %s %s\n", place.port, place.protocol, mapped, port);
}

static void answer(int fd, struct place place) {
    struct sockaddr_in6 client = {0};
    socklen_t length = sizeof client;
    char text[128];
    if (strcmp(place.protocol, "udp") == 0) {
        if (recvfrom(fd, text, sizeof text, 0, (struct sockaddr *)&client, &length) < 0) return;
        int n = describe(text, sizeof text, place, &client, length);
        (void)!sendto(fd, text, (size_t)n, 0, (struct sockaddr *)&client, length);
        return;
    }
    int peer = accept4(fd, (struct sockaddr *)&client, &length, SOCK_CLOEXEC);
    if (peer < 0) return;
    // What is closed with something unread is reset, and the answer with it.
    struct timeval limit = {.tv_sec = 2};
    setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)!read(peer, text, sizeof text);
    int n = describe(text, sizeof text, place, &client, length);
    (void)!write(peer, text, (size_t)n);
    close(peer);
}

int serve(int count, char **words) {
    struct pollfd fds[64];
    struct place places[64];
    if (count > 64) return 2;
    for (int i = 0; i < count; i++) {
        char *slash = strchr(words[i], '/');
        if (!slash) return 2;
        *slash = 0;
        places[i] = (struct place){.protocol = slash + 1, .port = atoi(words[i])};
        fds[i] = (struct pollfd){.fd = open_place(places[i]), .events = POLLIN};
        if (fds[i].fd < 0) {
            perror(words[i]);
            return 1;
        }
    }
    for (;;) {
        if (poll(fds, (nfds_t)count, -1) < 0) continue;
        for (int i = 0; i < count; i++) {
            if (fds[i].revents) answer(fds[i].fd, places[i]);
        }
    }
}
