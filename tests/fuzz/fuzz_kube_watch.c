/* SPDX-License-Identifier: Apache-2.0 */
/* First byte: how long the pieces are; the rest: what a watch sends. Cuts change nothing. */
#include <errno.h>
#include <string.h>

#include "fuzz.h"
#include "kube/frames.h"
#include "kube/kube.h"

struct count {
    size_t events, last;
    int error, codes;
};

static struct count split(const uint8_t *data, size_t size, size_t step)
{
    struct kube_frames frames = KUBE_FRAMES_INIT;
    struct count count = {0};

    for (size_t at = 0; at < size && count.error == 0; at += step) {
        struct kube_frame frame;
        int r;

        CHECK(kube_frames_add(&frames, data + at, size - at < step ? size - at : step) == 0);
        while ((r = kube_frames_next(&frames, &frame)) == 1) {
            CHECK(cJSON_IsObject(frame.object));
            CHECK((frame.type == KUBE_FRAME_ERROR) == (frame.version[0] == '\0'));
            CHECK((frame.type == KUBE_FRAME_ERROR) == (frame.code > 0));
            CHECK(strlen(frame.version) < KUBE_VERSION_MAX);
            count.events++;
            count.codes += frame.code;
            count.last = (size_t)frame.type;
            kube_frame_done(&frame);
        }
        CHECK(r == 0 || r == -EBADMSG);
        count.error = r;
    }
    kube_frames_done(&frames);
    return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct count whole, cut;

    if (size < 2) {
        return 0;
    }
    whole = split(data + 1, size - 1, size - 1);
    cut = split(data + 1, size - 1, (size_t)data[0] + 1);
    CHECK(whole.events == cut.events && whole.error == cut.error);
    CHECK(whole.codes == cut.codes && whole.last == cut.last);
    return 0;
}
