/* A program that may look like Kamailio (-DVERSION="...") and loads the module as Kamailio would: what does the module say? */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <dirent.h>

#ifdef VERSION
const char full_version[] = VERSION;
#endif

/* Entries of a directory under /proc/self: threads, open files. */
static int count(const char *path)
{
	DIR *dir = opendir(path);
	int entries = 0;
	if (!dir)
		return -1;
	while (readdir(dir))
		entries++;
	closedir(dir);
	return entries;
}

int main(int argc, char **argv)
{
	static const unsigned char zeros[80];
	int tasks = count("/proc/self/task"), files = count("/proc/self/fd");
	void *module = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
	char **version, **flags;
	unsigned char *exports;

	if (!module) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	version = dlsym(module, "module_version");
	flags = dlsym(module, "module_flags");
	exports = dlsym(module, "exports");
	if (!version || !flags || !exports) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	printf("version: %s\nflags: %s\nexports: %s\nthreads: %+d\nfiles: %+d\n", *version, *flags,
		memcmp(exports, zeros, sizeof zeros) ? "filled" : "empty", count("/proc/self/task") - tasks,
		count("/proc/self/fd") - files);
	return 0;
}
