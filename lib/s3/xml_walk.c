/* SPDX-License-Identifier: Apache-2.0 */
#include "s3/xml_walk.h"

#include <errno.h>
#include <expat.h>

#include "util/buf.h"

enum { DEPTH_MAX = 16, PATH_SIZE = 257, TEXT_MAX = 8192, BODY_MAX = 1024 * 1024 };

struct walk {
    XML_Parser parser;
    const struct s3_xml_walker *walker;
    char path[PATH_SIZE];
    size_t len;
    unsigned int depth;
    struct buf text;
    int error;
};

static void walk_end(struct walk *walk, int error)
{
    if (walk->error == 0 && error != 0) {
        walk->error = error;
        (void)XML_StopParser(walk->parser, XML_FALSE);
    }
}

static const char *local(const char *name)
{
    const char *colon = strrchr(name, ':');

    return colon != NULL ? colon + 1 : name;
}

static void XMLCALL on_open(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct walk *walk = arg;
    size_t len = strlen(local(name));
    const char *type = NULL;

    if (walk->depth == DEPTH_MAX || walk->len + len + 2 > PATH_SIZE) {
        walk_end(walk, -EINVAL);
        return;
    }
    if (walk->depth++ > 0) {
        walk->path[walk->len++] = '/';
    }
    memcpy(walk->path + walk->len, local(name), len + 1);
    walk->len += len;
    buf_reset(&walk->text);
    for (size_t i = 0; attributes[i] != NULL; i += 2) {
        type = strcmp(local(attributes[i]), "type") == 0 ? attributes[i + 1] : type;
    }
    if (walk->walker->open != NULL) {
        walk_end(walk, walk->walker->open(walk->walker->arg, walk->path, type));
    }
}

static void XMLCALL on_close(void *arg, const XML_Char *name)
{
    struct walk *walk = arg;
    size_t len = strlen(local(name));
    struct slice text = {buf_str(&walk->text), buf_len(&walk->text)};

    if (buf_error(&walk->text) != 0) {
        walk_end(walk, buf_error(&walk->text) == -EFBIG ? -EINVAL : -ENOMEM);
    }
    if (walk->error != 0) {
        return; /* expat ends by itself */
    }
    if (walk->walker->text != NULL) {
        walk_end(walk, walk->walker->text(walk->walker->arg, walk->path, text));
    }
    walk->len -= len + (walk->depth > 1 ? 1 : 0);
    walk->path[walk->len] = '\0';
    walk->depth--;
    buf_reset(&walk->text);
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
    struct walk *walk = arg;

    buf_add(&walk->text, text, (size_t)len);
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_internal)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_internal;
    walk_end(arg, -EINVAL);
}

static int walk_fault(int error, struct s3_fault *fault)
{
    if (error == -ENOMEM) {
        (void)s3_fault_set(fault, S3_INTERNAL_ERROR, "out of memory");
    } else if (fault->code == S3_OK) { /* else a callback has said more */
        (void)s3_fault_set(fault, S3_MALFORMED_XML, "%s", "");
    }
    return error;
}

int s3_xml_walk(const void *body, size_t len, const struct s3_xml_walker *walker,
                struct s3_fault *fault)
{
    struct walk walk = {.walker = walker, .text = BUF_INIT(TEXT_MAX)};

    if (len > BODY_MAX) {
        return walk_fault(-EINVAL, fault);
    }
    walk.parser = XML_ParserCreate("UTF-8");
    if (walk.parser == NULL) {
        return walk_fault(-ENOMEM, fault);
    }
    XML_SetUserData(walk.parser, &walk);
    XML_SetElementHandler(walk.parser, on_open, on_close);
    XML_SetCharacterDataHandler(walk.parser, on_text);
    XML_SetStartDoctypeDeclHandler(walk.parser, on_doctype);
    if (XML_Parse(walk.parser, body, (int)len, XML_TRUE) != XML_STATUS_OK && walk.error == 0) {
        walk.error = XML_GetErrorCode(walk.parser) == XML_ERROR_NO_MEMORY ? -ENOMEM : -EINVAL;
    }
    XML_ParserFree(walk.parser);
    buf_wipe(&walk.text); /* an answer with keys comes this way, too */
    return walk.error != 0 ? walk_fault(walk.error, fault) : 0;
}
