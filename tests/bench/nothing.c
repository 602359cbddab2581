/* The least that a hook can cost: a static program that does nothing. */
int main(void) {
	return 0;
}
