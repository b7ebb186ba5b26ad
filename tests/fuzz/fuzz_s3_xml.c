/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "fuzz.h"
#include "s3/xml_parse.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct s3_xml_doc *doc = NULL;
    struct s3_fault fault = S3_FAULT_INIT;

    if (s3_xml_parse(data, size, &doc, &fault) == 0) {
        check_document(doc);
        s3_xml_doc_free(doc);
    } else {
        CHECK(fault.code == S3_MALFORMED_XML || fault.code == S3_INTERNAL_ERROR);
    }
    return 0;
}
