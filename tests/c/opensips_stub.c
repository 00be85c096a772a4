/* A host that does with a module what OpenSIPS does, by the layouts that its versions document: it checks the stamp, hands over
 * modparams, initialises, forks, calls functions with typed parameters and waits for descriptors. It refuses to be a SIP server.
 *
 * opensips_stub VERSION MODULE CONFIG, and then one command in each line of standard input:
 *   call NAME ARG...            the function as it stands
 *   async SECONDS NAME ARG...   the function in async(), with this timeout or 0; goes on in the background
 *   launch NAME ARG...          the function in launch()
 *   sync NAME ARG...            the function in async() where OpenSIPS has no event loop: asked until it is done
 *   expire                      the time of everything in the background is over
 *   wait                        until nothing is in the background
 *   mi NAME KEY=VALUE...        a management command
 *   stat NAME                   a statistic
 *   fds                         how many descriptors are open
 *   body TEXT                   the body of the message in hand from now on, or - for none
 * An argument is text, $name for a variable, - for one that is left out, % for empty text. Answers begin with "> ". */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- layouts: offsets in bytes, as measured from the headers of each version; -1 for what is not there ---- */

struct layout {
    const char *version;
    int exports_len, version_at, flags_at, scm_type_at, scm_rev_at, dlflags_at;
    int cmds_at, acmds_at, params_at, mi_cmds_at, procs_at, init_at, init_child_at;
    int cmd_len, acmd_len, cmd_params_at, cmd_param_len, cmd_flags_at;
    int async_len, resume_at, resume_name_at, resume_param_at, timeout_at, timeout_s_at;
    int mi_export_len, mi_recipe_len, mi_names;
};

#define EXPORTS_34 184, 16, 24, 32, 40, 48, 72, 80, 88, 104, 128, 144, 168
#define COMMANDS 240, 232, 16, 24, 232

static const struct layout LAYOUTS[] = {
    {"3.4.2", EXPORTS_34, COMMANDS, 24, 0, -1, 8, 16, -1, 4256, 88, 10},
    {"3.4.18", EXPORTS_34, COMMANDS, 32, 0, -1, 8, 16, 24, 4256, 88, 10},
    {"3.5.9", EXPORTS_34, COMMANDS, 32, 0, -1, 8, 16, 24, 4256, 88, 10},
    {"3.6.8", EXPORTS_34, COMMANDS, 32, 0, -1, 8, 16, 24, 4256, 88, 10},
    {"4.0.1", EXPORTS_34, COMMANDS, 40, 0, 8, 16, 24, 32, 8128, 168, 20},
    /* versions that no module may take by itself */
    {"3.3.9", EXPORTS_34, COMMANDS, 32, 0, -1, 8, 16, 24, 4256, 88, 10},
    {"4.1.0", EXPORTS_34, COMMANDS, 40, 0, 8, 16, 24, 32, 8128, 168, 20},
};
static const struct layout *layout;

static void *at(void *start, int offset) { return (char *)start + offset; }
static void *pointer_at(void *start, int offset) { return *(void **)at(start, offset); }
static int int_at(void *start, int offset) { return *(int *)at(start, offset); }

static void say(const char *format, ...)
{
    char line[16384];
    va_list arguments;
    int len;

    va_start(arguments, format);
    len = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (len > (int)sizeof(line) - 2)
        len = sizeof(line) - 2;
    line[len++] = '\n';
    if (write(1, line, (size_t)len) != len)
        _exit(9);
}

static void die(const char *why)
{
    say("> broken: %s", why);
    _exit(9);
}

/* ---- what the core of OpenSIPS offers to modules ---- */

typedef struct { char *s; int len; } str;
typedef struct { str rs; int ri; int flags; } pv_value;
struct variable { char name[32]; char value[8192]; };

struct { const char *name; int type; const char *version, *flags, *scm_type, *scm_rev; char rest[256]; }
    proto_udp_exports = {"proto_udp", 1, 0, "STATS: On, SHM_MMAP, PKG_MALLOC", "git", "0123abc", {0}};
struct { const char *type, *rev; } core_scm_ver = {"git", "0123abc"};

int async_status = -8;
static int log_level_number = 4;
int *log_level = &log_level_number;
char *log_prefix = "";
int log_facility = 24, stderr_enabled = 1, syslog_enabled = 0;

void dprint(int level, int facility, const char *module, const char *function, char *to_stderr, char *to_syslog,
            char *format, ...)
{
    va_list arguments;

    (void)facility, (void)function, (void)to_syslog, (void)format;
    if (level > *log_level || strcmp(module, "voip_push") != 0)
        die("a line that should not have been logged");
    va_start(arguments, format);
    vfprintf(stderr, to_stderr, arguments);
    va_end(arguments);
    fflush(stderr);
}

int pv_set_value(void *message, struct variable *variable, int operator, pv_value *value)
{
    if (message == NULL || operator != 0)
        die("a variable is set without a message");
    if (value->flags & 1)
        strcpy(variable->value, "<null>");
    else if (value->flags & 4)
        snprintf(variable->value, sizeof(variable->value), "%.*s", value->rs.len, value->rs.s);
    else if (value->flags == (8 | 16))
        snprintf(variable->value, sizeof(variable->value), "%d", value->ri);
    else
        return -1;
    return 0;
}

static char body[8192];

/* As large as in the largest version; the name of the variable is all that is known of it. */
char *pv_parse_spec(const str *name, char *spec)
{
    memset(spec, 0x5a, 112);
    snprintf(spec, 112, "%.*s", name->len, name->s);
    return name->s + name->len;
}

int pv_get_spec_value(void *message, char *spec, pv_value *value)
{
    if (message == NULL || strcmp(spec, "$rb") != 0)
        die("a variable that nobody knows");
    memset(value, 0, sizeof(*value));
    value->flags = body[0] == '\0' ? 1 : 4;
    value->rs.s = body;
    value->rs.len = (int)strlen(body);
    return 0;
}

struct event_parameter { str name; int flags, number; str text; };
struct event { int count; struct event_parameter parameters[16]; };
static char event_name[64];

int evi_publish_event(str name)
{
    snprintf(event_name, sizeof(event_name), "%.*s", name.len, name.s);
    return 7;
}

int evi_probe_event(int id)
{
    return id == 7 && getenv("STUB_NO_EVENTS") == NULL;
}

void *evi_get_params(void) { return calloc(1, sizeof(struct event)); }

int evi_param_add(struct event *list, const str *name, const void *value, int flags)
{
    struct event_parameter *parameter = &list->parameters[list->count++];

    parameter->name = *name;
    parameter->flags = flags;
    if (flags == 1)
        parameter->number = *(const int *)value;
    else
        parameter->text = *(const str *)value;
    return 0;
}

int evi_raise_event(int id, struct event *list)
{
    char line[8192] = "";
    size_t len = 0;

    for (int i = 0; i < list->count; i++) {
        struct event_parameter *p = &list->parameters[i];
        len += (size_t)snprintf(line + len, sizeof(line) - len, " %.*s=", p->name.len, p->name.s);
        if (p->flags == 1)
            len += (size_t)snprintf(line + len, sizeof(line) - len, "%d", p->number);
        else
            len += (size_t)snprintf(line + len, sizeof(line) - len, "%.*s", p->text.len, p->text.s);
    }
    say("event %s%s", id == 7 ? event_name : "unknown", line);
    free(list);
    return 0;
}

#define MOST 256
static char mi_text[16384];
static char mi_error[1024];
static char **mi_given;

void *init_mi_result_object(void **object)
{
    mi_text[0] = mi_error[0] = '\0';
    return *object = mi_text;
}

void free_mi_response(void *response) { (void)response; }

void *init_mi_error_extra(int code, const char *text, int len, const char *more, int more_len)
{
    (void)more, (void)more_len;
    snprintf(mi_error, sizeof(mi_error), "error %d %.*s", code, len, text);
    return mi_error;
}

static void mi_add(const char *name, int len, const char *value)
{
    size_t used = strlen(mi_text);
    snprintf(mi_text + used, sizeof(mi_text) - used, " %.*s=%s", len, name, value);
}

int add_mi_string(void *item, char *name, int len, const char *value, int value_len)
{
    char text[1024];

    (void)item;
    snprintf(text, sizeof(text), "%.*s", value_len, value);
    mi_add(name, len, text);
    return 0;
}

int add_mi_number(void *item, char *name, int len, double value)
{
    char text[64];

    (void)item;
    snprintf(text, sizeof(text), "%.0f", value);
    mi_add(name, len, text);
    return 0;
}

void *add_mi_array(void *item, char *name, int len) { mi_add(name, len, "["); return item; }
void *add_mi_object(void *item, char *name, int len) { mi_add(name == NULL ? "" : name, len, "{"); return item; }

int try_get_mi_string_param(const void *params, char *name, char **value, int *len)
{
    (void)params;
    for (char **given = mi_given; *given != NULL; given++) {
        size_t key = strlen(name);
        if (strncmp(*given, name, key) == 0 && (*given)[key] == '=') {
            *value = *given + key + 1;
            *len = (int)strlen(*value);
            return 0;
        }
    }
    return -1;
}

static struct { const char *name; unsigned long (*value)(void *); void *context; } statistics[MOST];
static int statistic_count;

int register_stat2(const char *module, char *name, void *value, unsigned short flags, void *context, int unsafe)
{
    if (strcmp(module, "voip_push") != 0 || flags != (1 | 8) || unsafe != 0 || statistic_count == MOST)
        return -1;
    statistics[statistic_count].name = name;
    *(void **)&statistics[statistic_count].value = value;
    statistics[statistic_count++].context = context;
    return 0;
}

/* ---- loading and starting ---- */

static void check_stamp(void *exports)
{
    const char *version = pointer_at(exports, layout->version_at);

    if (version == NULL || strcmp(version, proto_udp_exports.version) != 0) {
        say("refused: %s", version);
        _exit(1);
    }
    if (strcmp(pointer_at(exports, layout->flags_at), proto_udp_exports.flags) != 0 ||
        strcmp(pointer_at(exports, layout->scm_type_at), core_scm_ver.type) != 0 ||
        strcmp(pointer_at(exports, layout->scm_rev_at), core_scm_ver.rev) != 0 ||
        strcmp(pointer_at(exports, 0), "voip_push") != 0 || int_at(exports, 8) != 1 ||
        int_at(exports, layout->dlflags_at) != 0)
        die("the stamp");
    for (int i = layout->exports_len; i < layout->exports_len + 64; i++)
        if (*(char *)at(exports, i) != 0)
            die("more than the exports of this version");
}

static void set_parameter(void *exports, const char *name, const char *value)
{
    char *row = pointer_at(exports, layout->params_at);

    for (; pointer_at(row, 0) != NULL; row += 24)
        if (strcmp(pointer_at(row, 0), name) == 0 && int_at(row, 8) == 1) {
            *(char **)pointer_at(row, 16) = strdup(value);
            return;
        }
    die("no such modparam");
}

static int threads(void)
{
    DIR *dir = opendir("/proc/self/task");
    int count = -2;

    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static int descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = -3;

    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count;
}

static pid_t start_process(void *exports)
{
    char *row = pointer_at(exports, layout->procs_at);
    int (*before)(void) = pointer_at(row, 8);
    int (*after)(void) = pointer_at(row, 16);
    void (*function)(int) = pointer_at(row, 24);
    int (*init_child)(int) = pointer_at(exports, layout->init_child_at);
    pid_t pid;

    if (int_at(row, 32) != 1 || pointer_at(row, 40) != NULL)
        die("one process is expected");
    if (threads() != 1)
        die("a thread before the fork");
    if (before != NULL && before() != 0)
        die("pre_fork");
    pid = fork();
    if (pid == 0) {
        close(0);
        if (int_at(row, 36) & 1 && init_child(-2) != 0)
            die("init_child in the module's process");
        function(0);
        die("the module's process has returned");
    }
    if (after != NULL && after() != 0)
        die("post_fork");
    return pid;
}

/* ---- calling functions ---- */

static char message[64] = "a SIP message";
static struct variable variables[9];
static int variable_count;

/* The parameters as the function's table says, as OpenSIPS fixes them. Gives 0 where the script would not be taken. */
static int fix(char *params, char **words, void **fixed, str *texts)
{
    memset(fixed, 0, 8 * sizeof(*fixed));
    variable_count = 0;
    for (int i = 0; i < 8; i++, params += layout->cmd_param_len) {
        int flags = int_at(params, 0);

        if (flags == 0)
            return words[i] == NULL;
        if (words[i] == NULL || strcmp(words[i], "-") == 0) {
            if (!(flags & 16))
                return 0;
            if (words[i] == NULL)
                break;
        } else if (flags & 2) {
            texts[i].s = strcmp(words[i], "%") == 0 ? "" : words[i];
            texts[i].len = (int)strlen(texts[i].s);
            fixed[i] = &texts[i];
        } else if (flags & 4 && words[i][0] == '$') {
            struct variable *variable = &variables[variable_count++];
            snprintf(variable->name, sizeof(variable->name), "%s", words[i] + 1);
            strcpy(variable->value, "?");
            fixed[i] = variable;
        } else {
            return 0;
        }
    }
    return 1;
}

static char *find(void *exports, int table_at, int len, const char *name)
{
    char *row = pointer_at(exports, table_at);

    for (; pointer_at(row, 0) != NULL; row += len)
        if (strcmp(pointer_at(row, 0), name) == 0)
            return row;
    return NULL;
}

static void answer(const char *what, int code, struct variable *filled, int count)
{
    char line[16384];
    size_t len = (size_t)snprintf(line, sizeof(line), "> %s rc=%d", what, code);

    for (int i = 0; i < count; i++)
        len += (size_t)snprintf(line + len, sizeof(line) - len, " %s=%s", filled[i].name, filled[i].value);
    say("%s", line);
}

static void call(void *exports, char **words)
{
    int (*function)(void *, void *, void *, void *, void *, void *, void *, void *, void *);
    char *row = find(exports, layout->cmds_at, layout->cmd_len, words[0]);
    void *p[8];
    str texts[8];

    if (row == NULL || !fix(at(row, layout->cmd_params_at), words + 1, p, texts)) {
        say("> the script is not taken");
        return;
    }
    if (int_at(row, layout->cmd_flags_at) & 64)
        die("usable before the fork");
    *(void **)&function = pointer_at(row, 8);
    answer("called", function(message, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]), variables, variable_count);
}

/* ---- asynchronous functions ---- */

enum { NO_IO = -8, AT_ONCE = -7, CONTINUE = -5, CLOSE = -3, DONE = -1 };
enum how { IN_BACKGROUND, LAUNCHED, ASKED_AT_ONCE };

typedef int (*resume_function)(int, void *, void *);
struct job {
    int fd, has_end, number, count;
    char context[64];
    struct timespec until;
    struct variable *filled;
};
static struct job jobs[1024];
static int job_count, job_number;

static void finish(struct job *job, const char *what, int offset)
{
    resume_function function = (resume_function)pointer_at(job->context, offset);
    char title[64];
    int code;

    async_status = DONE;
    code = function(job->fd, message, pointer_at(job->context, layout->resume_param_at));
    if (async_status == CONTINUE)
        die("it goes on, which it never says");
    if (async_status != CLOSE || close(job->fd) != 0)
        die("the descriptor is not ours to close");
    snprintf(title, sizeof(title), "%s %d", what, job->number);
    answer(title, code, job->filled, job->count);
    free(job->filled);
}

static void *start(void *exports, char **words, int seconds, enum how how)
{
    int (*function)(void *, void *, void *, void *, void *, void *, void *, void *, void *, void *);
    char *row = find(exports, layout->acmds_at, layout->acmd_len, words[0]);
    struct job *job = &jobs[job_count];
    void *p[8];
    str texts[8];
    int code;

    if (row == NULL || !fix(at(row, layout->cmd_params_at), words + 1, p, texts)) {
        say("> the script is not taken");
        return NULL;
    }
    /* what the variables of the script point to stays as long as the script */
    struct variable *kept = calloc(9, sizeof(*kept));
    memcpy(kept, variables, sizeof(variables));
    for (int i = 0; i < 8; i++)
        if (p[i] >= (void *)variables && p[i] < (void *)(variables + 9))
            p[i] = kept + ((struct variable *)p[i] - variables);
    memset(job->context, 0, (size_t)layout->async_len);
    memset(job->context + layout->async_len, 0x5a, sizeof(job->context) - (size_t)layout->async_len);
    if (layout->timeout_s_at >= 0)
        *(unsigned *)at(job->context, layout->timeout_s_at) = (unsigned)seconds;
    async_status = NO_IO;
    *(void **)&function = pointer_at(row, 8);
    code = function(message, job->context, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
    for (size_t i = (size_t)layout->async_len; i < sizeof(job->context); i++)
        if (job->context[i] != 0x5a)
            die("more than the context of this version");
    if (async_status < 0) {
        if (async_status != AT_ONCE && how == LAUNCHED)
            die("no report route would be run");
        answer("at once", code, kept, variable_count);
        free(kept);
        return NULL;
    }
    if (layout->resume_name_at >= 0 && strlen(pointer_at(job->context, layout->resume_name_at)) == 0)
        die("resume_f has no name");
    job->fd = async_status;
    job->number = ++job_number;
    job->filled = kept;
    job->count = variable_count;
    if (layout->timeout_s_at >= 0 && how == IN_BACKGROUND)
        seconds = int_at(job->context, layout->timeout_s_at);
    job->has_end = seconds != 0;
    clock_gettime(CLOCK_MONOTONIC, &job->until);
    job->until.tv_sec += seconds;
    return job;
}

static int remaining_ms(const struct job *job)
{
    struct timespec now;
    long long left;

    if (!job->has_end)
        return 60000;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left = (job->until.tv_sec - now.tv_sec) * 1000LL + (job->until.tv_nsec - now.tv_nsec) / 1000000;
    return left < 0 ? 0 : (int)left + 1;
}

/* Serves what is in the background until nothing is. */
static void wait_for_jobs(void)
{
    while (job_count > 0) {
        struct pollfd watched[1024];
        int first_ms = 60000;

        for (int i = 0; i < job_count; i++) {
            watched[i] = (struct pollfd){jobs[i].fd, POLLIN, 0};
            if (remaining_ms(&jobs[i]) < first_ms)
                first_ms = remaining_ms(&jobs[i]);
        }
        if (poll(watched, (nfds_t)job_count, first_ms) < 0)
            die("poll");
        for (int i = job_count - 1; i >= 0; i--) {
            if (watched[i].revents != 0)
                finish(&jobs[i], "resumed", layout->resume_at);
            else if (jobs[i].has_end && remaining_ms(&jobs[i]) == 0)
                finish(&jobs[i], "timed out", layout->timeout_at);
            else
                continue;
            jobs[i] = jobs[--job_count];
        }
    }
    say("> idle");
}

static void expire(void)
{
    while (job_count > 0)
        finish(&jobs[--job_count], "timed out", layout->timeout_at);
    say("> idle");
}

static void begin(void *exports, char **words, int seconds, enum how how)
{
    struct job *job = start(exports, words, seconds, how);

    if (job == NULL)
        return;
    if (how == ASKED_AT_ONCE) {
        finish(job, "resumed", layout->resume_at);
        return;
    }
    job_count++;
    say("> started %d", job->number);
}

/* ---- commands ---- */

static void manage(void *exports, char **words)
{
    /* 4.0 puts the module's name before each of its commands, which must not have it already */
    int prefix_len = layout->mi_names == 20 ? 10 : 0;
    char *row = find(exports, layout->mi_cmds_at, layout->mi_export_len, words[0] + prefix_len), *recipe = NULL;
    int given = 0, needed;

    if (row != NULL && strncmp(words[0], "voip_push:", 10) == 0 && pointer_at(row, 24) == NULL && int_at(row, 16) == 0)
        recipe = row + 32;
    while (words[1 + given] != NULL)
        given++;
    for (; recipe != NULL && pointer_at(recipe, 0) != NULL; recipe += layout->mi_recipe_len) {
        void *(*command)(void *, void *);
        for (needed = 0; needed < layout->mi_names && pointer_at(recipe, 8 + 8 * needed) != NULL; needed++)
            ;
        if (needed != given)
            continue;
        mi_given = words + 1;
        *(void **)&command = pointer_at(recipe, 0);
        say("> mi%s", (char *)command(words, NULL));
        return;
    }
    say("> mi no such command");
}

static void show_statistic(const char *name)
{
    for (int i = 0; i < statistic_count; i++)
        if (strcmp(statistics[i].name, name) == 0) {
            say("> stat %lu", statistics[i].value(statistics[i].context));
            return;
        }
    say("> stat none of %d", statistic_count);
}

static void set_body(char **words)
{
    body[0] = '\0';
    for (; *words != NULL && strcmp(*words, "-") != 0; words++) {
        strcat(body, *words);
        strcat(body, words[1] == NULL ? "" : " ");
    }
    say("> body");
}

static void obey(void *exports, char **words)
{
    if (strcmp(words[0], "call") == 0)
        call(exports, words + 1);
    else if (strcmp(words[0], "async") == 0)
        begin(exports, words + 2, atoi(words[1]), IN_BACKGROUND);
    else if (strcmp(words[0], "launch") == 0)
        begin(exports, words + 1, 0, LAUNCHED);
    else if (strcmp(words[0], "sync") == 0)
        begin(exports, words + 1, 0, ASKED_AT_ONCE);
    else if (strcmp(words[0], "wait") == 0)
        wait_for_jobs();
    else if (strcmp(words[0], "expire") == 0)
        expire();
    else if (strcmp(words[0], "mi") == 0)
        manage(exports, words + 1);
    else if (strcmp(words[0], "stat") == 0)
        show_statistic(words[1]);
    else if (strcmp(words[0], "fds") == 0)
        say("> fds %d", descriptors());
    else if (strcmp(words[0], "body") == 0)
        set_body(words + 1);
    else
        die("no such command");
}

static void work(void *exports)
{
    int (*init_child)(int) = pointer_at(exports, layout->init_child_at);
    static char line[65536];

    if (init_child(1) != 0)
        die("init_child in a worker");
    say("> ready");
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *words[16] = {0};
        int count = 0;
        for (char *word = strtok(line, " \n"); word != NULL && count < 15; word = strtok(NULL, " \n"))
            words[count++] = word;
        if (count > 0)
            obey(exports, words);
    }
}

int main(int argc, char **argv)
{
    char version[64];
    void *module, *exports;
    int (*init)(void), (*init_child)(int), ended = 0;
    pid_t sender, worker;

    if (argc != 4)
        return 9;
    for (size_t i = 0; i < sizeof(LAYOUTS) / sizeof(LAYOUTS[0]); i++)
        if (strcmp(LAYOUTS[i].version, argv[1]) == 0)
            layout = &LAYOUTS[i];
    if (layout == NULL)
        return 9;
    snprintf(version, sizeof(version), "opensips %s (x86_64/linux)", layout->version);
    proto_udp_exports.version = version;
    module = dlopen(argv[2], RTLD_NOW);
    if (module == NULL)
        die(dlerror());
    exports = dlsym(module, "exports");
    check_stamp(exports);
    set_parameter(exports, "config", argv[3]);
    init = (int (*)(void))pointer_at(exports, layout->init_at);
    if (init() != 0) {
        say("mod_init failed");
        return 2;
    }
    sender = start_process(exports);
    say("sender %d", (int)sender);
    worker = fork();
    if (worker == 0) {
        work(exports);
        _exit(0);
    }
    init_child = (int (*)(int))pointer_at(exports, layout->init_child_at);
    if (init_child(0) != 0)
        die("init_child in the first process");
    waitpid(worker, &ended, 0);
    kill(sender, SIGTERM);
    waitpid(sender, NULL, 0);
    say("ended %d", ended);
    return ended == 0 ? 0 : 3;
}
