/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever comes over the port: decoded, and START unpacked. */
#include "harness/vm/frame.h"
#include "harness/vm/start.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct frame_decoder d;
	struct vm_start s;
	struct frame f;
	size_t step = size ? data[0] % 64 + 1 : 1;
	volatile uint8_t sum = 0;
	int more = 0;

	if (frame_decoder_init(&d))
		abort();
	for (size_t at = 0; at < size && more >= 0;) {
		size_t room;
		uint8_t *to = frame_space(&d, &room);
		size_t n = size - at < step ? size - at : step;

		if (room < n)
			abort(); /* frames were taken, so there is room */
		memcpy(to, data + at, n);
		frame_added(&d, n);
		at += n;
		while ((more = frame_next(&d, &f)) > 0) {
			for (size_t i = 0; i < f.len; i++)
				sum = (uint8_t)(sum + f.data[i]);
			if (f.type == FRAME_START &&
			    !vm_start_unpack(f.data, f.len, &s))
				vm_start_release(&s);
		}
	}
	frame_decoder_release(&d);
	if (size && !vm_start_unpack(data, size, &s))
		vm_start_release(&s);
	return 0;
}
