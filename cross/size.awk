# Reads lld's map of a static binary and prints where its bytes are, as numbers in the order of the columns of
# cross/size.sh. The variable `file` is the size of the whole file.

# Every line has an address, a load address, a size and an alignment. Then comes a name in one of three columns: an
# output section, an input section of it, or a symbol.
NR == 1 { inputs = index($0, "In  "); next }
substr($0, inputs - 8, 1) != " " { output = $5; next }
# Sections that are not loaded have address 0; .bss and .tbss take no space in the file.
substr($0, inputs, 1) != " " && $1 != "0" && output !~ /^\.t?bss$/ { bytes[group_of($5)] += number($3) }

END {
	for (group in bytes) all += bytes[group]
	printf "%d %d %d %d %d %d %d\n", file, bytes["sqlite"], bytes["tls"], bytes["std"], bytes["ours"], \
		bytes["other"], file - all
}

# `input` is FILE:(SECTION).
function group_of(input, name, size) {
	if (input ~ /libsqlite3_sys/) return "sqlite"
	if (input ~ /libring|libaws_lc/) return "tls"
	if (input ~ /libcompiler_builtins/) return "std"
	if (input !~ /\.rcgu\.o:/) return "other"
	# Link-time optimization makes one object of all Rust code. The first crate in a symbol's v0-mangled name defines
	# it. Constants have no name, so their crate is unknown.
	sub(/.*:\(/, "", input)
	if (!match(input, /Cs[0-9A-Za-z]+_[0-9]+/)) return "other"
	name = substr(input, RSTART, RLENGTH)
	sub(/.*_/, "", name)
	size = name + 0
	name = substr(input, RSTART + RLENGTH, size)
	if (name ~ /^(rustls.*|webpki.*|ring|untrusted|zeroize|subtle)$/) return "tls"
	if (name ~ /^(core|alloc|std|hashbrown|compiler_builtins)$/) return "std"
	return name == "ssh_session_notifier" ? "ours" : "other"
}

function number(hexadecimal, value, place) {
	value = 0
	for (place = 1; place <= length(hexadecimal); place++)
		value = value * 16 + index("123456789abcdef", substr(hexadecimal, place, 1))
	return value
}
