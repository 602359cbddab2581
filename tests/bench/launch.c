/* launch FD PROGRAM ARGUMENT...: runs a program and writes four numbers to FD: wall time in nanoseconds,
 * processor time of the program and its children in microseconds, the largest peak memory of any of them in
 * KiB, and the exit status. Children that outlive the program count too, except in the wall time. This is a
 * small static program because the kernel counts a parent's memory towards its child's peak. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long microseconds(struct timeval time) {
	return time.tv_sec * 1000000LL + time.tv_usec;
}

int main(int count, char **arguments) {
	struct timespec begin, end;
	struct rusage usage;
	int status = 0;
	if (count < 3 || fcntl(atoi(arguments[1]), F_SETFD, FD_CLOEXEC) != 0)
		return 2;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	pid_t child = vfork();
	if (child == 0) {
		execv(arguments[2], arguments + 2);
		_exit(127);
	}
	if (child < 0 || wait4(child, &status, 0, &usage) != child)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &end);
	long long wall = (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec;
	long long cpu = microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
	long memory = usage.ru_maxrss;
	while (wait4(-1, NULL, 0, &usage) > 0) {
		cpu += microseconds(usage.ru_utime) + microseconds(usage.ru_stime);
		memory = usage.ru_maxrss > memory ? usage.ru_maxrss : memory;
	}
	int exited = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return dprintf(atoi(arguments[1]), "%lld %lld %ld %d\n", wall, cpu, memory, exited) < 0;
}
