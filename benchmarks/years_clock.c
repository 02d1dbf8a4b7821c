/* Moves the wall clock of one process, loaded before libc: see years_clock.py. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL
#define TEN_YEARS_S 315360000LL

/* Added to CLOCK_REALTIME; all other clocks (monotonic, CPU time) stay as they are. */
long long years_clock_shift_ns = 0;

typedef int (*clock_gettime_function)(clockid_t, struct timespec *);
static clock_gettime_function libc_clock_gettime;

__attribute__((constructor)) static void find_libc(void) {
  libc_clock_gettime = (clock_gettime_function)dlsym(RTLD_NEXT, "clock_gettime");
}

static long long ns_of(const struct timespec *at) { return at->tv_sec * SECOND_NS + at->tv_nsec; }

static struct timespec timespec_of(long long ns) {
  struct timespec at = {.tv_sec = ns / SECOND_NS, .tv_nsec = ns % SECOND_NS};
  return at;
}

int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = libc_clock_gettime ? libc_clock_gettime(id, at) : (int)syscall(SYS_clock_gettime, id, at);
  if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
    *at = timespec_of(ns_of(at) + years_clock_shift_ns);
  return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}

/* The monotonic time that is as far ahead as a moment of the moved clock. A moment soon after the machine's start is
   monotonic already: a condition may be told to use that clock. Without this, whoever waits until a moment of the moved
   clock, such as the threads of an allocator, would wait not at all, and spin. */
static struct timespec monotonic(const struct timespec *until) {
  struct timespec wall, now;
  if (until->tv_sec < TEN_YEARS_S) return *until;
  clock_gettime(CLOCK_REALTIME, &wall);
  clock_gettime(CLOCK_MONOTONIC, &now);
  long long left_ns = ns_of(until) - ns_of(&wall);
  return timespec_of(ns_of(&now) + (left_ns > 0 ? left_ns : 0));
}

int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
  struct timespec at = monotonic(until);
  return pthread_cond_clockwait(condition, mutex, CLOCK_MONOTONIC, &at);
}

int sem_timedwait(sem_t *semaphore, const struct timespec *until) {
  struct timespec at = monotonic(until);
  return sem_clockwait(semaphore, CLOCK_MONOTONIC, &at);
}
