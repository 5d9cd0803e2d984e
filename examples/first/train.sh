# Reads what prepare wrote; the rate is this task's parameter.
set -eu
rate=$1
total=$(awk '{ sum += $1 } END { print sum }' "$ELISA_PIPELINE_DIR/prepare/numbers.txt")
echo "rate $rate: the sum of the numbers is $total"
