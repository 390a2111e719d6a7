"""Writes a file as a C array: embed.py NAME INPUT OUTPUT."""
import sys

name, source, target = sys.argv[1:]
data = open(source, "rb").read()
with open(target, "w") as out:
    out.write('#include <stddef.h>\n#include "node/pause/pause.h"\n')
    out.write(f"const unsigned char {name}[] = {{\n")
    for i in range(0, len(data), 20):
        out.write("\t" + "".join(f"{b}," for b in data[i : i + 20]) + "\n")
    out.write(f"}};\nconst size_t {name}_bytes = sizeof({name});\n")
