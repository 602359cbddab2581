/* The least that durable storage can cost: appends 4 KiB to a file and syncs it. */
#include <fcntl.h>
#include <unistd.h>

static char page[4096];

int main(int count, char **arguments) {
	int file = count == 2 ? open(arguments[1], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
	return file < 0 || write(file, page, sizeof page) != sizeof page || fdatasync(file) != 0;
}
