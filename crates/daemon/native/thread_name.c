/* The name of a thread, for a static musl: its own function can name other threads, too, by a file of /proc whose name it
   writes with snprintf, which is all of stdio. The standard library names the calling thread only. */

#include <errno.h>
#include <pthread.h>
#include <sys/prctl.h>

int pthread_setname_np(pthread_t thread, const char *name)
{
	if (thread != pthread_self())
		return EINVAL;
	return prctl(PR_SET_NAME, name) ? errno : 0;
}
