/* The soak's C program: it forks workers, each of which pushes through a sender of its own, kills them at random and replaces them.
 * What every process writes down lies in memory that all share. Standard output: the pid of the worker that lives on, then totals. */
#define _DEFAULT_SOURCE
#include "../../tests/c/check.h"
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORKERS 4
#define USERS 20000
/* Calls that one worker has under way. */
#define UNDER_WAY 200

typedef unsigned long long number;

/* One user: generations of his token, from 0, with which the store was filled. */
struct user {
    number registered; /* the last that was registered, and said so */
    number meant;      /* the last that was begun */
    number dead;       /* one more than the last that was answered with 410 */
    number under_way;  /* calls */
};

static struct ledger {
    number next, taken, accepted, rejected, unanswered, unknown;
    struct user users[USERS];
} *ledger;

static struct call {
    struct user *user;
    number generation;
} calls[UNDER_WAY];
static struct pollfd watched[UNDER_WAY];

static number pushes, seed;

static number add(number *to, number how_many)
{
    return __atomic_fetch_add(to, how_many, __ATOMIC_SEQ_CST);
}

/* SplitMix64, as in random.rs. */
static number below(number bound)
{
    number mixed = seed += 0x9e3779b97f4a7c15ULL;

    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
    return (mixed ^ (mixed >> 31)) % bound;
}

static const char *name_of(const struct user *user)
{
    static char name[32];

    snprintf(name, sizeof name, "user%d", (int)(user - ledger->users));
    return name;
}

static const char *token_of(const struct user *user, number generation)
{
    static char token[65];
    int part, number_of_user = (int)(user - ledger->users);

    for (part = 0; part < 4; part++) {
        if (generation == 0)
            snprintf(token + part * 16, 17, "f%07xf%07x", number_of_user, number_of_user);
        else
            snprintf(token + part * 16, 17, "%08x%08x", number_of_user, (unsigned)generation);
    }
    return token;
}

static void renew(struct user *user)
{
    user->meant = user->registered + 1;
    CHECK_IS(register_token(name_of(user), token_of(user, user->meant), "ios"), VOIP_PUSH_OK);
    user->registered = user->meant;
}

/* What the worker before had under way when it was killed: nobody will know. Its users register anew, as phones do now and then. */
static void take_over(int slot)
{
    int at;

    for (at = slot; at < USERS; at += WORKERS) {
        struct user *user = &ledger->users[at];

        if (user->under_way == 0 && user->meant == user->registered && user->dead <= user->registered)
            continue;
        add(&ledger->unknown, user->under_way);
        user->under_way = 0;
        renew(user);
    }
}

/* 0 where the queue was full. */
static int start(int place, number push, struct user *user)
{
    char call_id[32];
    int32_t status;

    snprintf(call_id, sizeof call_id, "soak-%llu", push);
    user->under_way++;
    calls[place].user = user;
    do {
        calls[place].generation = user->registered;
        status = send_voip_push_async(name_of(user), "Soak", call_id, &watched[place].fd);
        if (status == VOIP_PUSH_ERR_NO_DEVICE)
            renew(user);
    } while (status == VOIP_PUSH_ERR_NO_DEVICE);
    if (status == VOIP_PUSH_ERR_QUEUE_FULL) {
        user->under_way--;
        return 0;
    }
    CHECK_IS(status, 1);
    watched[place].events = POLLIN;
    add(&ledger->taken, 1);
    return 1;
}

static void collect(int place)
{
    struct user *user = calls[place].user;
    int32_t status = voip_push_async_result(watched[place].fd);

    if (status == 1) {
        add(&ledger->accepted, 1);
    } else if (status == VOIP_PUSH_ERR_ALL_REJECTED) {
        CHECK(strstr(voip_push_last_error(), "token_gone") != NULL);
        if (user->dead < calls[place].generation + 1)
            user->dead = calls[place].generation + 1;
        add(&ledger->rejected, 1);
    } else {
        CHECK_IS(status, VOIP_PUSH_ERR_NO_ANSWER);
        /* Its 410 may come later, for a token that is not the user's by then. */
        renew(user);
        add(&ledger->unanswered, 1);
    }
    CHECK_IS(voip_push_async_result(watched[place].fd), VOIP_PUSH_ERR_BAD_ARGUMENT);
    user->under_way--;
    watched[place].fd = -1;
}

/* Users belong to one worker each, so that only one registers for them. */
static int work(int slot)
{
    int place, under_way = 0, is_over = 0;

    seed = (number)getpid();
    memset(watched, -1, sizeof watched);
    take_over(slot);
    while (!is_over || under_way > 0) {
        for (place = 0; place < UNDER_WAY && !is_over; place++) {
            number push;

            if (watched[place].fd >= 0)
                continue;
            push = add(&ledger->next, 1);
            is_over = push >= pushes;
            while (!is_over && !start(place, push, &ledger->users[below(USERS / WORKERS) * WORKERS + slot]))
                usleep(2000);
            under_way += !is_over;
        }
        if (under_way == 0)
            continue;
        CHECK(poll(watched, UNDER_WAY, 60000) > 0);
        for (place = 0; place < UNDER_WAY; place++) {
            if (watched[place].fd >= 0 && (watched[place].revents & POLLIN)) {
                collect(place);
                under_way--;
            }
        }
    }
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}

static pid_t fork_worker(int slot)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0)
        _exit(work(slot));
    return pid;
}

/* The first worker lives on, so that its memory can be watched. Returns how many were killed. */
static number drive(void)
{
    pid_t workers[WORKERS];
    int slot, status, alive = WORKERS;
    number killed = 0;

    for (slot = 0; slot < WORKERS; slot++)
        workers[slot] = fork_worker(slot);
    printf("=> %d\n", (int)workers[0]);
    fflush(stdout);
    while (alive > 0) {
        usleep((useconds_t)(50 + below(500)) * 1000);
        for (slot = 0; slot < WORKERS; slot++) {
            if (workers[slot] > 0 && waitpid(workers[slot], &status, WNOHANG) == workers[slot]) {
                CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
                workers[slot] = 0;
                alive--;
            }
        }
        slot = 1 + (int)below(WORKERS - 1);
        if (workers[slot] > 0) {
            CHECK(kill(workers[slot], SIGKILL) == 0);
            CHECK(waitpid(workers[slot], &status, 0) == workers[slot]);
            killed++;
            workers[slot] = fork_worker(slot);
        }
    }
    return killed;
}

/* Tokens that are missing although they were never answered with 410, and that are there although they were. */
static void compare_store(number *gone, number *there)
{
    int at;

    for (at = 0; at < USERS; at++) {
        struct user *user = &ledger->users[at];
        char token[65], platform[8];
        size_t token_len, platform_len;
        int32_t found = lookup_token(name_of(user), token, sizeof token, &token_len, platform, sizeof platform, &platform_len);
        int is_dead = user->dead > user->registered;

        CHECK(found == 1 || found == VOIP_PUSH_ERR_NO_DEVICE);
        *there += is_dead && found == 1;
        *gone += !is_dead && (found != 1 || strcmp(token, token_of(user, user->registered)) != 0);
    }
}

int main(int argc, char **argv)
{
    static char stats[1 << 18];
    number killed, gone = 0, there = 0;
    size_t len;

    CHECK(argc == 3);
    pushes = strtoull(argv[2], NULL, 10);
    ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(ledger != MAP_FAILED);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    killed = drive();
    compare_store(&gone, &there);
    CHECK_IS(voip_push_stats(stats, sizeof stats, &len), VOIP_PUSH_OK);
    printf("=> {\"taken\":%llu,\"accepted\":%llu,\"rejected\":%llu,\"unanswered\":%llu,\"unknown\":%llu,\"killed\":%llu,"
           "\"wrongly_gone\":%llu,\"wrongly_there\":%llu}\n%s",
           ledger->taken, ledger->accepted, ledger->rejected, ledger->unanswered, ledger->unknown, killed, gone, there, stats);
    return 0;
}
