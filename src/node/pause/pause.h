/* The pause program as bytes (an ELF file), built from pause.c. */
#pragma once
#include <stddef.h>

extern const unsigned char pause_elf[];
extern const size_t pause_elf_bytes;
