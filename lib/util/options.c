/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - each source gives texts; the strongest text of each option is converted once.
 *
 * Lists of one source add up (a repeated flag); a stronger source replaces a weaker one's list. A
 * JSON value becomes the text that a flag would have had, so that there is one set of rules.
 */
#include "util/options.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "util/cleanup.h"
#include "util/file.h"
#include "util/url.h"

enum { OPTIONS_MAX = 128, ITEMS_MAX = 1024, CONFIG_FILE_MAX = 1 << 20, NAME_MAX_ = 64 };

enum source { FROM_NOTHING, FROM_FALLBACK, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };

struct value {
    enum source source;
    struct option_list texts; /* one but for lists */
};

struct parse {
    const struct options_program *program;
    struct value values[OPTIONS_MAX];
    struct option_list positional;
    char *config_path;
    bool help, version;
    struct error *err;
};

static void list_done(struct option_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->items[i]);
    }
    free(list->items);
    *list = (struct option_list){0};
}

static int list_add(struct option_list *list, const char *text, size_t len)
{
    AUTOFREE char *copy = strndup(text, len);
    char **items;

    if (list->count == ITEMS_MAX) {
        return -E2BIG;
    }
    items = reallocarray(list->items, list->count + 2, sizeof(*items));
    if (items == NULL) {
        return -ENOMEM;
    }
    list->items = items;
    items[list->count] = NULL;
    if (copy == NULL) {
        return -ENOMEM;
    }
    items[list->count++] = TAKE(copy);
    items[list->count] = NULL;
    return 0;
}

static const char *source_name(enum source source)
{
    static const char *const names[] = {"", "default", "configuration file", "environment", "flag"};

    return names[source];
}

/* Take a text from a source: it replaces a weaker one, and a list's adds to its own source's. */
static int give(struct parse *p, size_t index, enum source source, const char *text)
{
    struct value *v = &p->values[index];

    if (v->source > source) {
        return 0;
    }
    if (v->source < source || p->program->options[index].type != OPTION_LIST) {
        list_done(&v->texts);
        v->source = source;
    }
    if (p->program->options[index].type != OPTION_LIST) {
        return list_add(&v->texts, text, strlen(text));
    }
    while (*text != '\0') {
        size_t len = strcspn(text, ",");
        int r = len > 0 ? list_add(&v->texts, text, len) : 0;

        if (r < 0) {
            return r;
        }
        text += len + (text[len] == ',' ? 1 : 0);
    }
    return 0;
}

static bool find(const struct parse *p, const char *name, size_t len, size_t *ret)
{
    for (size_t i = 0; i < p->program->count; i++) {
        const char *own = p->program->options[i].name;

        if (strlen(own) == len && strncmp(own, name, len) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static int give_bool(struct parse *p, size_t index, const char *value, const char *word)
{
    return give(p, index, FROM_FLAG, value != NULL ? value : word);
}

/* --name, --name=value, --no-name; *next is moved when the value is the next argument. */
static int long_flag(struct parse *p, const char *name, char *const *args, int *next)
{
    const char *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const char *value = equals != NULL ? equals + 1 : NULL;
    size_t index;

    if (p->program->environment != NULL && len == 6 && strncmp(name, "config", 6) == 0) {
        value = value != NULL ? value : args[*next];
        if (value == NULL) {
            return error_set(p->err, -EINVAL, "--config needs the path of a JSON file");
        }
        *next += equals == NULL ? 1 : 0;
        free(p->config_path);
        p->config_path = strdup(value);
        return p->config_path != NULL ? 0 : -ENOMEM;
    }
    if (!find(p, name, len, &index)) {
        if (len > 3 && strncmp(name, "no-", 3) == 0 && value == NULL &&
            find(p, name + 3, len - 3, &index) && p->program->options[index].type == OPTION_BOOL) {
            return give(p, index, FROM_FLAG, "false");
        }
        return error_set(p->err, -EINVAL, "unknown option --%.*s: see %s --help", (int)len, name,
                         p->program->name);
    }
    if (p->program->options[index].type == OPTION_BOOL) {
        return give_bool(p, index, value, "true");
    }
    if (value == NULL) {
        value = args[*next];
        if (value == NULL) {
            return error_set(p->err, -EINVAL, "--%s needs a value: --%s %s", name, name,
                             p->program->options[index].value);
        }
        (*next)++;
    }
    return give(p, index, FROM_FLAG, value);
}

static int letter_flag(struct parse *p, const char *arg, char *const *args, int *next)
{
    for (size_t i = 0; i < p->program->count; i++) {
        const struct option_spec *spec = &p->program->options[i];

        if (spec->letter == 0 || spec->letter != arg[1]) {
            continue;
        }
        if (spec->type == OPTION_BOOL && arg[2] == '\0') {
            return give(p, i, FROM_FLAG, "true");
        }
        if (arg[2] != '\0') {
            return give(p, i, FROM_FLAG, arg + 2);
        }
        if (args[*next] == NULL) {
            return error_set(p->err, -EINVAL, "-%c needs a value", arg[1]);
        }
        return give(p, i, FROM_FLAG, args[(*next)++]);
    }
    return error_set(p->err, -EINVAL, "unknown option %.2s: see %s --help", arg, p->program->name);
}

static int from_arguments(struct parse *p, int argc, char *const *argv)
{
    bool flags = true;
    int r = 0;

    for (int i = 1; i < argc && r == 0;) {
        const char *arg = argv[i++];

        if (flags && strcmp(arg, "--") == 0) {
            flags = false;
        } else if (flags && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)) {
            p->help = true;
        } else if (flags && strcmp(arg, "--version") == 0) {
            p->version = true;
        } else if (flags && strncmp(arg, "--", 2) == 0) {
            r = long_flag(p, arg + 2, argv, &i);
        } else if (flags && arg[0] == '-' && arg[1] != '\0') {
            r = letter_flag(p, arg, argv, &i);
        } else if (p->program->positional == NULL) {
            r = error_set(p->err, -EINVAL, "unexpected argument '%s': see %s --help",
                          url_shown(arg), p->program->name);
        } else {
            r = list_add(&p->positional, arg, strlen(arg));
        }
    }
    return r;
}

/* The option's variable without the prefix: "cache-size" is CACHE_SIZE. */
static void variable_of(const char *name, char ret[NAME_MAX_])
{
    size_t i;

    for (i = 0; name[i] != '\0' && i + 1 < NAME_MAX_; i++) {
        ret[i] = name[i];
        if (name[i] == '-') {
            ret[i] = '_';
        } else if (name[i] >= 'a' && name[i] <= 'z') {
            ret[i] = (char)(name[i] & ~0x20);
        }
    }
    ret[i] = '\0';
}

static int one_variable(struct parse *p, const char *name, size_t len, const char *value)
{
    char own[NAME_MAX_];

    if (len == 6 && strncmp(name, "CONFIG", 6) == 0) {
        if (p->config_path == NULL) {
            p->config_path = strdup(value);
        }
        return p->config_path != NULL ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < p->program->count; i++) {
        variable_of(p->program->options[i].name, own);
        if (strlen(own) == len && strncmp(own, name, len) == 0) {
            return give(p, i, FROM_ENVIRONMENT, value);
        }
    }
    return 0; /* Kubernetes sets NAME_SERVICE_HOST and the like for every Service */
}

static int from_environment(struct parse *p)
{
    const char *prefix = p->program->environment;
    int r = 0;

    for (char **e = environ; prefix != NULL && *e != NULL && r == 0; e++) {
        const char *equals = strchr(*e, '=');
        size_t skip = strlen(prefix);

        if (equals != NULL && strncmp(*e, prefix, skip) == 0) {
            r = one_variable(p, *e + skip, (size_t)(equals - *e) - skip, equals + 1);
        }
    }
    return r;
}

static int give_json(struct parse *p, size_t index, const cJSON *item)
{
    const cJSON *element;
    char number[32];
    int r = 0;

    if (cJSON_IsString(item)) {
        return give(p, index, FROM_FILE, item->valuestring);
    }
    if (cJSON_IsBool(item)) {
        return give(p, index, FROM_FILE, cJSON_IsTrue(item) ? "true" : "false");
    }
    if (cJSON_IsNumber(item) && item->valuedouble == floor(item->valuedouble) &&
        fabs(item->valuedouble) < 9e15) {
        (void)snprintf(number, sizeof(number), "%.0f", item->valuedouble);
        return give(p, index, FROM_FILE, number);
    }
    if (cJSON_IsArray(item) && p->program->options[index].type == OPTION_LIST) {
        cJSON_ArrayForEach(element, item)
        {
            if (!cJSON_IsString(element)) {
                return error_set(p->err, -EINVAL, "%s: '%s' must be a list of strings",
                                 p->config_path, p->program->options[index].name);
            }
            r = r < 0 ? r : give(p, index, FROM_FILE, element->valuestring);
        }
        return r;
    }
    return error_set(p->err, -EINVAL, "%s: '%s' must be a string, a whole number or a boolean",
                     p->config_path, p->program->options[index].name);
}

static int from_file(struct parse *p)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(CONFIG_FILE_MAX);
    const cJSON *item;
    cJSON *json;
    size_t index;
    int r;

    if (p->config_path == NULL) {
        return 0;
    }
    r = file_read(p->config_path, &text);
    if (r < 0) {
        return error_set(p->err, r, "cannot read the configuration file '%s': %s", p->config_path,
                         strerrordesc_np(-r));
    }
    json = cJSON_ParseWithOpts(buf_str(&text), NULL, true);
    if (!cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return error_set(p->err, -EINVAL, "%s is not a JSON object", p->config_path);
    }
    cJSON_ArrayForEach(item, json)
    {
        if (r == 0 && !find(p, item->string, strlen(item->string), &index)) {
            r = error_set(p->err, -EINVAL, "%s: unknown option '%s': see %s --help", p->config_path,
                          item->string, p->program->name);
        } else if (r == 0) {
            r = give_json(p, index, item);
        }
    }
    cJSON_Delete(json);
    return r;
}

int options_parse_number(const char *text, uint64_t *ret)
{
    unsigned long long n;
    char *end;

    if (text[0] < '0' || text[0] > '9') {
        return -EINVAL;
    }
    errno = 0;
    n = strtoull(text, &end, 10);
    if (*end != '\0') {
        return -EINVAL;
    }
    if (errno != 0) {
        return -ERANGE;
    }
    *ret = n;
    return 0;
}

struct unit {
    const char *name;
    uint64_t factor;
};

/* A decimal number, whole or with a fraction, and one of the units. */
static int parse_units(const char *text, const struct unit *units, size_t count, uint64_t *ret)
{
    char *end;
    double n;

    if (text[0] < '0' || text[0] > '9' || strspn(text, "0123456789.") > 20) {
        return -EINVAL;
    }
    n = strtod(text, &end);
    if (end != text + strspn(text, "0123456789.")) {
        return -EINVAL; /* an exponent or hexadecimal */
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].name) == 0) {
            n *= (double)units[i].factor;
            if (n >= 18446744073709549568.0) {
                return -ERANGE;
            }
            *ret = (uint64_t)n;
            return 0;
        }
    }
    return -EINVAL;
}

int options_parse_size(const char *text, uint64_t *ret)
{
    static const struct unit units[] = {
        {"B", 1},
        {"KiB", 1ULL << 10},
        {"Ki", 1ULL << 10},
        {"K", 1ULL << 10},
        {"MiB", 1ULL << 20},
        {"Mi", 1ULL << 20},
        {"M", 1ULL << 20},
        {"GiB", 1ULL << 30},
        {"Gi", 1ULL << 30},
        {"G", 1ULL << 30},
        {"TiB", 1ULL << 40},
        {"Ti", 1ULL << 40},
        {"T", 1ULL << 40},
        {"kB", 1000},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", 1000000000000},
        {"PiB", 1ULL << 50},
        {"Pi", 1ULL << 50},
    };

    if (options_parse_number(text, ret) == 0) {
        return 0;
    }
    return parse_units(text, units, sizeof(units) / sizeof(units[0]), ret);
}

int options_parse_duration_ms(const char *text, uint64_t *ret)
{
    static const struct unit units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};

    if (strcmp(text, "0") == 0) {
        *ret = 0;
        return 0;
    }
    return parse_units(text, units, sizeof(units) / sizeof(units[0]), ret);
}

static int parse_bool(const char *text, bool *ret)
{
    if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0 || strcmp(text, "yes") == 0) {
        *ret = true;
        return 0;
    }
    if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0 || strcmp(text, "no") == 0) {
        *ret = false;
        return 0;
    }
    return -EINVAL;
}

/* What each type wants, for the error text. */
static const char *wanted(enum option_type type)
{
    switch (type) {
    case OPTION_BOOL:
        return "true or false";
    case OPTION_NUMBER:
        return "a whole number";
    case OPTION_SIZE:
        return "a size such as 64MiB";
    case OPTION_DURATION_MS:
        return "a duration such as 30s";
    default:
        return "a text";
    }
}

static int set_number(struct parse *p, const struct option_spec *spec, const struct value *v,
                      uint64_t *ret)
{
    const char *text = v->texts.items[0];
    int r = spec->type == OPTION_SIZE          ? options_parse_size(text, ret)
            : spec->type == OPTION_DURATION_MS ? options_parse_duration_ms(text, ret)
                                               : options_parse_number(text, ret);

    if (r < 0) {
        return error_set(p->err, -EINVAL, "option '%s' (from the %s): '%s' is not %s", spec->name,
                         source_name(v->source), url_shown(text), wanted(spec->type));
    }
    if (*ret < spec->min || (spec->max > 0 && *ret > spec->max)) {
        return error_set(p->err, -EINVAL,
                         "option '%s' (from the %s): '%s' is not between %llu and %llu", spec->name,
                         source_name(v->source), text, (unsigned long long)spec->min,
                         (unsigned long long)(spec->max > 0 ? spec->max : UINT64_MAX));
    }
    return 0;
}

static int set_member(struct parse *p, size_t index, void *config)
{
    const struct option_spec *spec = &p->program->options[index];
    struct value *v = &p->values[index];
    char *member = (char *)config + spec->offset;
    uint64_t number;
    bool flag = false;
    int r = 0;

    switch (spec->type) {
    case OPTION_STRING:
        memcpy(member, &v->texts.items[0], sizeof(char *));
        v->texts.items[0] = NULL;
        return 0;
    case OPTION_LIST:
        memcpy(member, &v->texts, sizeof(v->texts));
        v->texts = (struct option_list){0};
        return 0;
    case OPTION_BOOL:
        r = parse_bool(v->texts.items[0], &flag);
        if (r == 0) {
            memcpy(member, &flag, sizeof(flag));
            return 0;
        }
        return error_set(p->err, -EINVAL, "option '%s' (from the %s): '%s' is not true or false",
                         spec->name, source_name(v->source), url_shown(v->texts.items[0]));
    default:
        r = set_number(p, spec, v, &number);
        if (r == 0) {
            memcpy(member, &number, sizeof(number));
        }
        return r;
    }
}

static void clear_members(const struct options_program *program, void *config)
{
    for (size_t i = 0; i < program->count; i++) {
        char *member = (char *)config + program->options[i].offset;

        switch (program->options[i].type) {
        case OPTION_STRING:
            memset(member, 0, sizeof(void *));
            break;
        case OPTION_LIST:
            memset(member, 0, sizeof(struct option_list));
            break;
        case OPTION_BOOL:
            memset(member, 0, sizeof(bool));
            break;
        default:
            memset(member, 0, sizeof(uint64_t));
        }
    }
    if (program->positional != NULL) {
        memset((char *)config + program->positional_offset, 0, sizeof(struct option_list));
    }
}

/* A variable of a manifest that was left empty is as good as none. */
static bool is_nothing(const struct value *v)
{
    return v->source == FROM_NOTHING || (v->texts.count == 1 && v->texts.items[0][0] == '\0');
}

static int set_all(struct parse *p, void *config)
{
    const struct options_program *program = p->program;
    int r = 0;

    if (p->positional.count < program->positional_min ||
        p->positional.count > program->positional_max) {
        return error_set(p->err, -EINVAL, "usage: %s [OPTION]... %s", program->name,
                         program->positional != NULL ? program->positional : "");
    }
    for (size_t i = 0; i < program->count && r == 0; i++) {
        const struct option_spec *spec = &program->options[i];

        if (p->values[i].source == FROM_NOTHING && spec->fallback != NULL) {
            r = give(p, i, FROM_FALLBACK, spec->fallback);
        }
        if (r == 0 && spec->required && is_nothing(&p->values[i])) {
            r = error_set(p->err, -EINVAL, "option --%s is missing: %s", spec->name, spec->help);
        }
        if (r == 0 && p->values[i].source != FROM_NOTHING) {
            r = set_member(p, i, config);
        }
    }
    if (r == 0 && program->positional != NULL) {
        memcpy((char *)config + program->positional_offset, &p->positional, sizeof(p->positional));
        p->positional = (struct option_list){0};
    }
    return r;
}

static int print_help(const struct parse *p)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(1 << 20);

    if (p->version) {
        buf_addf(&out, "%s %s\n", p->program->name, SKYVOL_VERSION);
    } else {
        options_help(p->program, &out);
    }
    if (buf_error(&out) < 0) {
        return buf_error(&out);
    }
    return fputs(buf_str(&out), stdout) < 0 || fflush(stdout) != 0 ? -EIO : 1;
}

int options_parse(const struct options_program *program, int argc, char *const *argv, void *config,
                  struct error *err)
{
    struct parse p = {.program = program, .err = err};
    int r = program->count <= OPTIONS_MAX ? from_arguments(&p, argc, argv) : -E2BIG;

    clear_members(program, config);
    if (r == 0 && (p.help || p.version)) {
        r = print_help(&p);
    }
    if (r == 0) {
        r = from_environment(&p);
    }
    if (r == 0) {
        r = from_file(&p);
    }
    if (r == 0) {
        r = set_all(&p, config);
    }
    if (r < 0) {
        options_done(program, config);
    }
    for (size_t i = 0; i < program->count && i < OPTIONS_MAX; i++) {
        list_done(&p.values[i].texts);
    }
    list_done(&p.positional);
    free(p.config_path);
    return r;
}

int options_exit(const struct options_program *program, int result, const struct error *err)
{
    if (result == 1) {
        return 0;
    }
    (void)fprintf(stderr, "%s: %s\n", program->name, error_text(err, result));
    return 2;
}

void options_done(const struct options_program *program, void *config)
{
    struct option_list list;
    char *text;

    for (size_t i = 0; i < program->count; i++) {
        const char *member = (const char *)config + program->options[i].offset;

        if (program->options[i].type == OPTION_STRING) {
            memcpy(&text, member, sizeof(text));
            free(text);
        } else if (program->options[i].type == OPTION_LIST) {
            memcpy(&list, member, sizeof(list));
            list_done(&list);
        }
    }
    if (program->positional != NULL) {
        memcpy(&list, (const char *)config + program->positional_offset, sizeof(list));
        list_done(&list);
    }
    clear_members(program, config);
}

static void help_option(const struct option_spec *spec, struct buf *out)
{
    char left[NAME_MAX_ * 2];
    int n = snprintf(left, sizeof(left), "  --%s%s%s", spec->name, spec->value != NULL ? " " : "",
                     spec->value != NULL ? spec->value : "");

    if (spec->letter != 0) {
        n += snprintf(left + n, sizeof(left) - (size_t)n, ", -%c", spec->letter);
    }
    if (n > 30) {
        buf_addf(out, "%s\n%-32s%s", left, "", spec->help);
    } else {
        buf_addf(out, "%-32s%s", left, spec->help);
    }
    if (spec->required) {
        buf_addstr(out, " (required)");
    } else if (spec->fallback != NULL && spec->fallback[0] != '\0') {
        buf_addf(out, " (default: %s)", spec->fallback);
    }
    buf_addstr(out, "\n");
}

static bool has_switches(const struct options_program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        if (program->options[i].type == OPTION_BOOL) {
            return true;
        }
    }
    return false;
}

void options_help(const struct options_program *program, struct buf *out)
{
    buf_addf(out, "Usage: %s [OPTION]...%s%s\n\n%s\n\nOptions:\n", program->name,
             program->positional != NULL ? " " : "",
             program->positional != NULL ? program->positional : "", program->summary);
    for (size_t i = 0; i < program->count; i++) {
        help_option(&program->options[i], out);
    }
    if (program->environment != NULL) {
        buf_addf(out, "%-32s%s\n", "  --config FILE", "JSON file with these options by name");
    }
    buf_addf(out, "%-32s%s\n%-32s%s\n", "  --help, -h", "print this text", "  --version",
             "print the version");
    if (has_switches(program)) {
        buf_addstr(out, "\nAn option without a value is taken back by --no-OPTION.\n");
    }
    if (program->environment != NULL) {
        buf_addf(out,
                 "\nAn option is also read from the environment (%sOPTION_NAME) and from the JSON\n"
                 "file; a flag goes before the environment, the environment before the file.\n",
                 program->environment);
    }
    if (program->epilogue != NULL) {
        size_t len = strlen(program->epilogue);

        buf_addf(out, "\n%s%s", program->epilogue,
                 len > 0 && program->epilogue[len - 1] == '\n' ? "" : "\n");
    }
}

int options_log_level(const char *text, enum log_level *ret, struct error *err)
{
    return log_parse_level(text, ret) < 0
               ? error_set(err, -EINVAL, "--log-level: give error, warn, info or debug, not '%s'",
                           text)
               : 0;
}
