/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "fuzz.h"
#include "s3/names.h"
#include "s3/xml.h"
#include "s3/xml_parse.h"
#include "util/buf.h"

/* Strings are never NULL, whatever came. */
static void check_document(const struct s3_xml_doc *doc)
{
    CHECK(doc->count <= S3_XML_ITEMS_MAX);
    for (size_t i = 0; i < doc->count; i++) {
        const struct s3_xml_item *item = &doc->items[i];

        CHECK(strlen(item->key) <= S3_XML_TEXT_MAX && strlen(item->etag) <= S3_XML_TEXT_MAX);
        CHECK(item->version_id != NULL && item->upload_id != NULL && item->code != NULL);
        CHECK(item->checksum != NULL && item->message != NULL && item->storage_class != NULL);
    }
    CHECK(doc->next_token != NULL && doc->next_marker != NULL && doc->code != NULL);
}

/* What we write can be read, and is the same unless XML cannot hold it. */
static void check_written(const uint8_t *data, size_t size)
{
    char text[1024];
    size_t len = size < sizeof(text) - 1 ? size : sizeof(text) - 1;
    struct buf out = BUF_INIT(65536);
    struct s3_xml_doc *doc = NULL;

    memcpy(text, data, len);
    text[len] = '\0';
    if (s3_utf8_valid(slice_of(text))) {
        s3_xml_delete_begin(&out, true);
        s3_xml_delete_key(&out, text, NULL, NULL);
        s3_xml_delete_end(&out);
        CHECK(s3_xml_parse(buf_str(&out), buf_len(&out), &doc, NULL) == 0);
        CHECK(doc->count == 1);
        CHECK((strcmp(doc->items[0].key, text) == 0) == s3_xml_can_write(text));
        s3_xml_doc_free(doc);
    }
    buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct s3_xml_doc *doc = NULL;
    struct s3_fault fault = S3_FAULT_INIT;

    check_written(data, size);
    if (s3_xml_parse(data, size, &doc, &fault) == 0) {
        check_document(doc);
        s3_xml_doc_free(doc);
    } else {
        CHECK(fault.code == S3_MALFORMED_XML || fault.code == S3_INTERNAL_ERROR);
    }
    return 0;
}
