/* A ring of rows in shared memory, and its writer: a feed handler pushes rows into another process without a lock and
 * without a system call, but one that wakes a reader which sleeps. C11 or C++ (GCC, Clang), Linux, no dependency; include it
 * before other headers, or build with -D_GNU_SOURCE.
 *
 *     struct kvtape_ring_writer ring;
 *     int error = kvtape_ring_open(&ring, "prices", KVTAPE_ROW_OHLCV, sizeof(struct kvtape_ohlcv));
 *     if (error) { fprintf(stderr, "%s\n", kvtape_ring_strerror(error)); return 1; }
 *     long long n_taken = kvtape_ring_push(&ring, rows, n_rows);     // rows taken, or a negative error
 *     kvtape_ring_close(&ring);
 *
 * The memory is the file /dev/shm/kvtape.NAME, mode 0600, made by the reader (kvtape.SharedRing.create). Layout, version 1, all
 * numbers in the byte order of the machine:
 *
 *   byte  size
 *      0     8  magic "kvtring" and a zero            0 to 47 never change once the name is there
 *      8     4  version, 1
 *     12     4  row type, one of KVTAPE_ROW_...
 *     16     8  bytes a row, a multiple of 8, at most 65536
 *     24     8  capacity in rows, a power of two
 *     32     8  overflow: 0 drop_newest (a full ring refuses), 1 drop_oldest (it overwrites)
 *     40     8  inode of the pid namespace in which the owners below are to be looked up
 *     48     4  closed: 1 once the reader has left on purpose; the name is gone or goes
 *    128     8  writer's owner: pid | low half of its start time << 32, 0 for none    128 to 159: the writer's alone
 *    136     8  tail: rows pushed so far; row k lies in slot k mod capacity
 *    144     8  claimed: slots below claimed - capacity are being overwritten (drop_oldest only); at least tail
 *    152     8  refused: rows that did not fit (drop_newest only)
 *    256     8  reader's owner, likewise                                              256 to 279: the reader's alone
 *    264     8  popped: rows that reached the reader
 *    272     8  dropped: rows that were overwritten before it came; popped + dropped is the next row to read
 *    384     4  asleep: 1 while the reader sleeps on this word (futex)                written by both
 *    512        capacity x bytes a row: the slots, written and read as 64-bit words
 *
 * Each word has one writer, so there is no state in which a side that dies (kill -9 included) stops the other:
 *   - before tail moves nothing of a push is there; after it all is. The next writer goes on from tail.
 *   - a reader dies before popped moves, and the rows are there for the next one, or after.
 *   - an owner whose process is gone, or is another process with the same pid, is replaced by compare-and-swap.
 * Counters are exact: pushed = tail = popped + dropped + what is in the ring. All of them may run over 2^64.
 *
 *   (A) tail: the writer's release store pairs with the reader's acquire load: what was written into the slots is seen.
 *   (B) popped: the reader's release store pairs with the writer's acquire load: the slots were read before they are reused.
 *   (C) drop_oldest: the writer moves claimed, then overwrites; the reader copies, then looks at claimed. Fences keep the order,
 *       so a copy that is torn is known to be, and thrown away; and claimed is seen at most one capacity ahead of tail.
 *   (D) sleep: the writer moves tail, then looks at asleep; the reader sets asleep, then looks at tail; both sequentially
 *       consistent, so one of them sees the other.
 *
 * One thread at a time may push. After fork() only the parent may: the child must not touch the writer, but may close it. */
#ifndef KVTAPE_SHARED_RING_H
#define KVTAPE_SHARED_RING_H

#ifndef __linux__
#error "kvtape_shared_ring.h: Linux only"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef __USE_GNU
#error "kvtape_shared_ring.h: include it before other headers, or build with -D_GNU_SOURCE"
#endif

#ifdef __cplusplus
extern "C" {
#define KVTAPE_RING_ASSERT static_assert
#else
#define KVTAPE_RING_ASSERT _Static_assert
#endif

#define KVTAPE_RING_MAGIC "kvtring"
#define KVTAPE_RING_VERSION 1u
#define KVTAPE_RING_HEADER_BYTES 512u
#define KVTAPE_RING_MAX_ROW_BYTES 65536u
#define KVTAPE_RING_MAX_BYTES (UINT64_C(1) << 40)

/* The orders of (A) and (B); the tests weaken them one by one and expect ThreadSanitizer to object. */
#ifndef KVTAPE_RING_PUBLISH
#define KVTAPE_RING_PUBLISH __ATOMIC_SEQ_CST /* (A), and (D) */
#endif
#ifndef KVTAPE_RING_OBSERVE
#define KVTAPE_RING_OBSERVE __ATOMIC_ACQUIRE /* (A) */
#endif
#ifndef KVTAPE_RING_VACATE
#define KVTAPE_RING_VACATE __ATOMIC_RELEASE /* (B) */
#endif
#ifndef KVTAPE_RING_REUSE
#define KVTAPE_RING_REUSE __ATOMIC_ACQUIRE /* (B) */
#endif

enum kvtape_ring_overflow { KVTAPE_RING_DROP_NEWEST = 0, KVTAPE_RING_DROP_OLDEST = 1 };

/* ---- row types --------------------------------------------------------------------------------------------------------- */
enum kvtape_ring_row_type {
  KVTAPE_ROW_ANY = 0,
  KVTAPE_ROW_OHLCV = 1,
  KVTAPE_ROW_IOT = 2,
  KVTAPE_ROW_SPATIAL = 3,
  KVTAPE_ROW_EVENT = 4,
  KVTAPE_ROW_VITALS = 5
};

#define KVTAPE_NO_TIMESTAMP INT64_MIN

/* The timestamp is in Unix seconds, or KVTAPE_NO_TIMESTAMP. A name is an index into the names that the session has of
 * that field; of an OHLCV session without any, 0 is its default. */
struct kvtape_ohlcv {
  int64_t timestamp;
  double o, h, l, c, v;
  uint16_t sym, zero[3];
};
struct kvtape_iot {
  int64_t timestamp;
  uint16_t sid, zero[3];
  double val, lo, hi;
};
struct kvtape_spatial {
  int64_t timestamp;
  double x, y, z, spd, hdg;
};
struct kvtape_event {
  int64_t timestamp;
  uint16_t src, zero0[3];
  int64_t sev;
  uint16_t cat, zero1[3];
  int64_t cnt;
};
struct kvtape_vitals {
  int64_t timestamp;
  double hr, bp_s, bp_d, spo2, temp;
};
KVTAPE_RING_ASSERT(sizeof(struct kvtape_ohlcv) == 56, "layout of a row");
KVTAPE_RING_ASSERT(sizeof(struct kvtape_iot) == 40 && sizeof(struct kvtape_event) == 40, "layout of a row");
KVTAPE_RING_ASSERT(sizeof(struct kvtape_spatial) == 48 && sizeof(struct kvtape_vitals) == 48, "layout of a row");

/* ---- layout ------------------------------------------------------------------------------------------------------------ */
struct kvtape_ring_header {
  char magic[8];
  uint32_t version, row_type;
  uint64_t row_bytes, capacity, overflow, pid_namespace;
  uint32_t closed;
  char pad0[76];
  uint64_t writer, tail, claimed, refused;
  char pad1[96];
  uint64_t reader, popped, dropped;
  char pad2[104];
  uint32_t asleep;
  char pad3[124];
};
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, version) == 8, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, row_bytes) == 16, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, pid_namespace) == 40, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, closed) == 48, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, writer) == 128, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, refused) == 152, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, reader) == 256, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, dropped) == 272, "layout");
KVTAPE_RING_ASSERT(offsetof(struct kvtape_ring_header, asleep) == 384, "layout");
KVTAPE_RING_ASSERT(sizeof(struct kvtape_ring_header) == KVTAPE_RING_HEADER_BYTES, "layout");

/* ---- errors ------------------------------------------------------------------------------------------------------------ */
enum kvtape_ring_error {
  KVTAPE_RING_OK = 0,
  KVTAPE_RING_NOT_FOUND = -1, /* no ring of this name: the reader has not made it yet */
  KVTAPE_RING_SYSTEM = -2,    /* the system refused; errno says why */
  KVTAPE_RING_BAD_NAME = -3,
  KVTAPE_RING_NOT_A_RING = -4,
  KVTAPE_RING_BAD_VERSION = -5,
  KVTAPE_RING_CORRUPT = -6,  /* sizes or counters that cannot be */
  KVTAPE_RING_ROW_TYPE = -7, /* a ring of other rows */
  KVTAPE_RING_BUSY = -8,     /* another writer lives */
  KVTAPE_RING_CLOSED = -9,   /* the reader has left; open again to find its successor */
  KVTAPE_RING_NAMESPACE = -10
};

static inline const char* kvtape_ring_strerror(int error) {
  switch (error) {
    case KVTAPE_RING_OK: return "no error";
    case KVTAPE_RING_NOT_FOUND: return "there is no such ring";
    case KVTAPE_RING_SYSTEM: return "the system refused";
    case KVTAPE_RING_BAD_NAME: return "a name is 1 to 200 of A-Z a-z 0-9 . _ - and does not begin with a dot";
    case KVTAPE_RING_NOT_A_RING: return "it is no ring, or not this user's";
    case KVTAPE_RING_BAD_VERSION: return "its layout is of another version";
    case KVTAPE_RING_CORRUPT: return "its sizes or counters cannot be";
    case KVTAPE_RING_ROW_TYPE: return "its rows are of another type";
    case KVTAPE_RING_BUSY: return "another process has this side of it";
    case KVTAPE_RING_CLOSED: return "its reader has closed it";
    case KVTAPE_RING_NAMESPACE:
      return "it was made in another pid namespace, where no owner can be told dead from alive";
    default: return "unknown error";
  }
}

/* ---- owners ------------------------------------------------------------------------------------------------------------ */

/* Start time of a process in clock ticks since boot, low half: 1 and the time; 0 where it is gone (a zombie is); -1 where /proc
 * does not say. */
static inline int kvtape_ring_start_time(uint32_t pid, uint32_t* ticks) {
  char path[32], stat[1024];
  snprintf(path, sizeof path, "/proc/%u/stat", (unsigned)pid);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  const ssize_t n = read(fd, stat, sizeof stat - 1);
  close(fd);
  if (n <= 0) return 0; /* it went in between */
  stat[n] = 0;
  const char* at =
      strrchr(stat, ')'); /* the name before it may hold anything; then come " S ppid ...", the time as 20th */
  if (at == NULL || at[1] == 0) return -1;
  if (at[2] == 'Z' || at[2] == 'X') return 0;
  for (int i = 0; i < 20 && at != NULL; ++i) at = strchr(at + 1, ' ');
  if (at == NULL) return -1;
  *ticks = (uint32_t)strtoull(at + 1, NULL, 10);
  return 1;
}

/* Ticks that an owner's start time may be off. An emulator tells a process when it began to emulate it, and tells others when
 * the kernel did, some ticks before; and no system hands a process id out again within a second. */
#define KVTAPE_RING_START_SLACK 100u

static inline int kvtape_ring_alive(uint64_t owner) {
  uint32_t ticks = 0;
  if (owner == 0) return 0;
  const int found = kvtape_ring_start_time((uint32_t)owner, &ticks);
  if (found < 0) return kill((pid_t)(uint32_t)owner, 0) == 0 || errno == EPERM;
  const uint32_t apart = ticks - (uint32_t)(owner >> 32);
  return found && (apart <= KVTAPE_RING_START_SLACK || (uint32_t)-apart <= KVTAPE_RING_START_SLACK);
}

/* Takes a side of the ring for this process, from nobody or from the dead. */
static inline int kvtape_ring_claim(uint64_t* owner) {
  uint32_t ticks = 0;
  if (kvtape_ring_start_time((uint32_t)getpid(), &ticks) != 1) return KVTAPE_RING_SYSTEM;
  const uint64_t self = (uint64_t)(uint32_t)getpid() | (uint64_t)ticks << 32;
  uint64_t held = __atomic_load_n(owner, __ATOMIC_ACQUIRE);
  do {
    if (kvtape_ring_alive(held)) return KVTAPE_RING_BUSY;
  } while (!__atomic_compare_exchange_n(owner, &held, self, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
  return KVTAPE_RING_OK;
}

static inline void kvtape_ring_release(uint64_t* owner) {
  if ((uint32_t)__atomic_load_n(owner, __ATOMIC_RELAXED) == (uint32_t)getpid()) {
    __atomic_store_n(owner, 0, __ATOMIC_RELEASE);
  }
}

static inline uint64_t kvtape_ring_pid_namespace(void) {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) == 0 ? (uint64_t)status.st_ino : 0;
}

/* ---- what both sides share --------------------------------------------------------------------------------------------- */

/* What a header says, read once and checked: the other side may go on writing there. */
struct kvtape_ring_shape {
  uint64_t row_bytes, capacity;
  uint32_t row_type;
  int drop_oldest;
};

static inline int kvtape_ring_check(const void* memory, uint64_t n_bytes, struct kvtape_ring_shape* shape) {
  const struct kvtape_ring_header* header = (const struct kvtape_ring_header*)memory;
  if (n_bytes < KVTAPE_RING_HEADER_BYTES || memcmp(header->magic, KVTAPE_RING_MAGIC, 8) != 0) {
    return KVTAPE_RING_NOT_A_RING;
  }
  if (__atomic_load_n(&header->version, __ATOMIC_ACQUIRE) != KVTAPE_RING_VERSION) return KVTAPE_RING_BAD_VERSION;
  const uint64_t row_bytes = __atomic_load_n(&header->row_bytes, __ATOMIC_RELAXED);
  const uint64_t capacity = __atomic_load_n(&header->capacity, __ATOMIC_RELAXED);
  const uint64_t overflow = __atomic_load_n(&header->overflow, __ATOMIC_RELAXED);
  if (row_bytes == 0 || row_bytes % 8 != 0 || row_bytes > KVTAPE_RING_MAX_ROW_BYTES || capacity == 0 ||
      (capacity & (capacity - 1)) != 0 || capacity > KVTAPE_RING_MAX_BYTES / row_bytes || overflow > 1 ||
      n_bytes - KVTAPE_RING_HEADER_BYTES < capacity * row_bytes) {
    return KVTAPE_RING_CORRUPT;
  }
  if (__atomic_load_n(&header->pid_namespace, __ATOMIC_RELAXED) != kvtape_ring_pid_namespace()) {
    return KVTAPE_RING_NAMESPACE;
  }
  shape->row_bytes = row_bytes;
  shape->capacity = capacity;
  shape->row_type = __atomic_load_n(&header->row_type, __ATOMIC_RELAXED);
  shape->drop_oldest = overflow == KVTAPE_RING_DROP_OLDEST;
  return KVTAPE_RING_OK;
}

static inline int kvtape_ring_is_name(const char* name) {
  static const char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  const size_t n = strlen(name);
  return n >= 1 && n <= 200 && name[0] != '.' && strspn(name, kLetters) == n;
}

/* The fences of (C). GCC's ThreadSanitizer knows no fences; nothing but atomics depends on this one. */
static inline void kvtape_ring_fence(void) {
#ifndef __SANITIZE_THREAD__
  __atomic_thread_fence(__ATOMIC_ACQ_REL);
#endif
}

/* ---- writer ------------------------------------------------------------------------------------------------------------ */
struct kvtape_ring_writer {
  struct kvtape_ring_header* header; /* NULL when closed */
  struct kvtape_ring_shape shape;
  uint64_t tail, claimed; /* the words in memory are copies of these, for the reader */
  uint64_t position;      /* where the reader was when it was last looked at */
  uint64_t owned_bytes;   /* of the mapping that close gives back; 0 where it is somebody else's */
};

/* Becomes the writer of a ring that is mapped already. row_type KVTAPE_ROW_ANY takes any, row_bytes 0 any size. */
static inline int kvtape_ring_attach(struct kvtape_ring_writer* w, void* memory, uint64_t n_bytes, uint32_t row_type,
                                     uint64_t row_bytes) {
  memset(w, 0, sizeof *w);
  int error = kvtape_ring_check(memory, n_bytes, &w->shape);
  if (error != KVTAPE_RING_OK) return error;
  if ((row_type != KVTAPE_ROW_ANY && row_type != w->shape.row_type) ||
      (row_bytes != 0 && row_bytes != w->shape.row_bytes)) {
    return KVTAPE_RING_ROW_TYPE;
  }
  struct kvtape_ring_header* header = (struct kvtape_ring_header*)memory;
  if (__atomic_load_n(&header->closed, __ATOMIC_ACQUIRE) != 0) return KVTAPE_RING_CLOSED;
  error = kvtape_ring_claim(&header->writer);
  if (error != KVTAPE_RING_OK) return error;
  w->tail = __atomic_load_n(&header->tail, __ATOMIC_RELAXED);
  w->claimed = __atomic_load_n(&header->claimed, __ATOMIC_RELAXED);
  if (w->shape.drop_oldest && w->claimed - w->tail > w->shape.capacity) {
    kvtape_ring_release(&header->writer);
    return KVTAPE_RING_CORRUPT;
  }
  w->position = w->tail - w->shape.capacity; /* full, as far as is known: the first push looks */
  w->header = header;
  return KVTAPE_RING_OK;
}

/* Becomes the writer of the ring of this name. */
static inline int kvtape_ring_open(struct kvtape_ring_writer* w, const char* name, uint32_t row_type,
                                   uint64_t row_bytes) {
  char path[256];
  struct stat status;
  memset(w, 0, sizeof *w);
  if (!kvtape_ring_is_name(name)) return KVTAPE_RING_BAD_NAME;
  snprintf(path, sizeof path, "/dev/shm/kvtape.%s", name);
  const int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return errno == ENOENT ? KVTAPE_RING_NOT_FOUND : KVTAPE_RING_SYSTEM;
  int error = KVTAPE_RING_NOT_A_RING;
  if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == geteuid() &&
      status.st_size >= (off_t)KVTAPE_RING_HEADER_BYTES) {
    const uint64_t n_bytes = (uint64_t)status.st_size;
    void* memory = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
      error = KVTAPE_RING_SYSTEM;
    } else {
      error = kvtape_ring_attach(w, memory, n_bytes, row_type, row_bytes);
      if (error == KVTAPE_RING_OK) {
        w->owned_bytes = n_bytes;
      } else {
        munmap(memory, n_bytes);
      }
    }
  }
  const int saved = errno;
  close(fd);
  errno = saved;
  return error;
}

static inline void kvtape_ring_close(struct kvtape_ring_writer* w) {
  if (w->header == NULL) return;
  kvtape_ring_release(&w->header->writer);
  if (w->owned_bytes != 0) munmap(w->header, w->owned_bytes);
  w->header = NULL;
}

/* Rows that the reader has not passed; more than the capacity where it was overtaken, or lies. */
static inline uint64_t kvtape_ring_look(struct kvtape_ring_writer* w) {
  const uint64_t popped = __atomic_load_n(&w->header->popped, KVTAPE_RING_REUSE); /* (B) */
  const uint64_t position = popped + __atomic_load_n(&w->header->dropped, __ATOMIC_RELAXED);
  const uint64_t n_inside = w->tail - position;
  if (n_inside <= w->shape.capacity) w->position = position;
  return n_inside;
}

/* Rows that fit right now: a push of so many drops and refuses nothing. */
static inline uint64_t kvtape_ring_room(struct kvtape_ring_writer* w) {
  const uint64_t n_inside = kvtape_ring_look(w);
  return n_inside < w->shape.capacity ? w->shape.capacity - n_inside : 0;
}

static inline int kvtape_ring_has_reader(const struct kvtape_ring_writer* w) {
  return kvtape_ring_alive(__atomic_load_n(&w->header->reader, __ATOMIC_ACQUIRE));
}

/* Writes n rows, at most the capacity, into slots that are free or to be overwritten, and shows them to the reader. */
static inline void kvtape_ring_put(struct kvtape_ring_writer* w, const unsigned char* rows, uint64_t n) {
  struct kvtape_ring_header* header = w->header;
  uint64_t* slots = (uint64_t*)((unsigned char*)header + KVTAPE_RING_HEADER_BYTES);
  const uint64_t row_words = w->shape.row_bytes / 8, n_slot_words = w->shape.capacity * row_words;
  if (w->shape.drop_oldest) {
    if (w->claimed - w->tail < n) w->claimed = w->tail + n; /* it is more where a writer died in the middle of a push */
    kvtape_ring_fence();                                    /* (C) never seen without the tail before it */
    __atomic_store_n(&header->claimed, w->claimed, __ATOMIC_RELAXED);
    kvtape_ring_fence(); /* (C) before any slot is written */
  }
  uint64_t at = (w->tail & (w->shape.capacity - 1)) * row_words;
  for (uint64_t n_left = n * row_words; n_left > 0; at = 0) { /* at most twice: to the end, and from the beginning */
    const uint64_t run = n_left < n_slot_words - at ? n_left : n_slot_words - at;
    for (uint64_t i = 0; i < run; ++i, rows += 8) {
      uint64_t word;
      memcpy(&word, rows, 8);
      __atomic_store_n(&slots[at + i], word, __ATOMIC_RELAXED);
    }
    n_left -= run;
  }
  w->tail += n;
  __atomic_store_n(&header->tail, w->tail, KVTAPE_RING_PUBLISH); /* (A) the slots are there */
  if (__atomic_load_n(&header->asleep, __ATOMIC_SEQ_CST) != 0) { /* (D) */
    __atomic_store_n(&header->asleep, 0, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &header->asleep, FUTEX_WAKE, 1, NULL, NULL, 0);
  }
}

/* Appends rows; returns how many were taken, always the first ones, or a negative error. drop_oldest takes all of them. */
static inline long long kvtape_ring_push(struct kvtape_ring_writer* w, const void* rows, size_t n_rows) {
  const unsigned char* from = (const unsigned char*)rows;
  uint64_t n = n_rows;
  if (w->header == NULL || __atomic_load_n(&w->header->closed, __ATOMIC_RELAXED) != 0) return KVTAPE_RING_CLOSED;
  if (!w->shape.drop_oldest) {
    if (w->shape.capacity - (w->tail - w->position) < n && kvtape_ring_look(w) > w->shape.capacity) {
      return KVTAPE_RING_CORRUPT;
    }
    const uint64_t n_free = w->shape.capacity - (w->tail - w->position);
    if (n > n_free) {
      __atomic_store_n(&w->header->refused, w->header->refused + (n - n_free), __ATOMIC_RELAXED);
      n = n_free;
    }
  }
  for (uint64_t done = 0; done < n;) {
    const uint64_t batch = n - done < w->shape.capacity ? n - done : w->shape.capacity;
    kvtape_ring_put(w, from + done * w->shape.row_bytes, batch);
    done += batch;
  }
  return (long long)n;
}

#ifdef __cplusplus
}
#endif
#endif /* KVTAPE_SHARED_RING_H */
