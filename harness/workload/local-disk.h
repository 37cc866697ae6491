/* SPDX-License-Identifier: Apache-2.0 */
/* Files and devices as the baselines of a measurement, with a cold cache. */
#ifndef MS_HARNESS_WORKLOAD_LOCAL_DISK_H
#define MS_HARNESS_WORKLOAD_LOCAL_DISK_H

#include <stdint.h>

/*
 * A file without a name in `folder`, allocated, filled with the pattern of
 * `seed` and flushed. The descriptor (read and write), or a negative errno
 * with a sentence: -EOPNOTSUPP if the folder is in memory and not on a disk.
 */
int local_disk_file(const char *folder, uint64_t size, uint64_t seed)
	__attribute__((nonnull, warn_unused_result));

/*
 * Drop what the page cache holds of it, and look: 0, -EBUSY if pages stay in
 * spite of every way there is, -EOPNOTSUPP for a device that cannot be asked.
 */
int local_disk_drop_cache(int fd, uint64_t size)
	__attribute__((warn_unused_result));

/* Bytes of a file or block device, or 0 with a sentence. */
uint64_t local_disk_size(int fd);

/* Read-ahead of the disk below in KiB, or -1 if it is not known. */
int local_disk_read_ahead_kb(int fd);

#endif
