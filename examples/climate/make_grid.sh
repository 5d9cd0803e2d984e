# Writes a grid of $1 bands of equal area between the poles: the sine of each band's latitude, one a line.
set -eu
awk -v bands="$1" 'BEGIN {
  for (i = 1; i <= bands; i++) printf "%.6f\n", -1 + (2 * i - 1) / bands
}' >"$ELISA_TASK_DIR/grid.txt"
