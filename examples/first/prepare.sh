# Writes the declared output into this task's own folder.
set -eu
seq 1 10 >"$ELISA_TASK_DIR/numbers.txt"
