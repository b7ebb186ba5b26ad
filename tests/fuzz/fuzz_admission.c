/* SPDX-License-Identifier: Apache-2.0 */
/* An AdmissionReview: whatever comes, the answer is a whole one, and a refused pod is not patched.
 */
#include <errno.h>
#include <string.h>

#include "csi/webhook/review.h"
#include "fuzz.h"
#include "kube/kube.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct inject_config config = {.image = "image", .trust = "trust/member"};
    struct buf out = BUF_INIT(16 << 20);
    struct error err = ERROR_INIT;
    bool patched = false;
    int r = review_answer(&config, (struct slice){(const char *)data, size}, &out, &patched, &err);

    CHECK(r == 0 || r == -EINVAL || r == -EFBIG);
    if (r == 0) {
        cJSON *json = cJSON_Parse(buf_str(&out));
        const cJSON *response = cJSON_GetObjectItem(json, "response");
        const cJSON *allowed = cJSON_GetObjectItem(response, "allowed");

        CHECK(kube_text(response, "uid")[0] != '\0');
        CHECK(cJSON_IsBool(allowed));
        CHECK(patched == (kube_text(response, "patch")[0] != '\0'));
        CHECK(!patched || cJSON_IsTrue(allowed));
        CHECK(cJSON_IsTrue(allowed) || kube_text(response, "status.message")[0] != '\0');
        cJSON_Delete(json);
    }
    buf_done(&out);
    return 0;
}
