#!/bin/sh
# Refuses C files that `make format` would change. Versions of clang-format disagree: only Debian 12's (14) is asked; another
# one, or none, skips the test. Usage: check_format.sh SOURCE_ROOT
cd "$1" || exit 1
clang-format --version 2>/dev/null | grep -q 'version 14\.' || { echo "no clang-format 14: skipped"; exit 77; }
find bench src tests -name '*.[ch]' | xargs clang-format --dry-run -Werror
