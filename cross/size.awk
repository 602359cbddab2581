# Reads GNU ld's map of one static binary and prints where its bytes are: a line of numbers, in the
# order of the columns of cross/size.sh. `file` is the size of the whole file.

/^Linker script and memory map/ { has_begun = 1 }
!has_begun { next }
# An input section with a long name has its address, size and origin in the next line.
/^ \.[^ ]+$/ { section = $1; next }
/^ \.[^ ]+ +0x/ { section = $1; count($2, $3, $4); next }
/^ +0x[0-9a-f]+ +0x[0-9a-f]+ [^ ]/ && section != "" { count($1, $2, $3); next }
{ section = "" }

END {
	for (group in bytes) all += bytes[group]
	printf "%d %d %d %d %d %d %d\n", file, bytes["sqlite"], bytes["tls"], bytes["std"], bytes["ours"], \
		bytes["other"], file - all
}

function count(address, size, origin) {
	# Nothing at address 0 is loaded, and memory that starts empty takes no room in the file.
	if (address !~ /^0x0+$/ && section !~ /^\.(bss|tbss)/) bytes[group_of(origin)] += number(size)
	section = ""
}

function group_of(origin, name, size) {
	if (origin ~ /libsqlite3_sys/) return "sqlite"
	if (origin ~ /libring|libaws_lc/) return "tls"
	if (origin ~ /libcompiler_builtins/) return "std"
	if (origin !~ /\.rcgu\.o$/) return "other"
	# After link-time optimisation all Rust is one object: the crate that wrote a function is the first
	# that its name (mangled as rustc's v0 does) tells. Constants without a name belong to nobody.
	if (!match(section, /Cs[0-9A-Za-z]+_[0-9]+/)) return "other"
	name = substr(section, RSTART, RLENGTH)
	sub(/.*_/, "", name)
	size = name + 0
	name = substr(section, RSTART + RLENGTH, size)
	if (name ~ /^(rustls.*|webpki.*|ring|untrusted|zeroize|subtle)$/) return "tls"
	if (name ~ /^(core|alloc|std|hashbrown|compiler_builtins)$/) return "std"
	return name == "ssh_session_notifier" ? "ours" : "other"
}

function number(hexadecimal, value, place) {
	value = 0
	for (place = 3; place <= length(hexadecimal); place++)
		value = value * 16 + index("123456789abcdef", substr(hexadecimal, place, 1))
	return value
}
