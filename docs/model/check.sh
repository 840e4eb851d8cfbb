#!/bin/sh
# check.sh [small|large]     makes the searches of that set, two at once; prints each result, and fails when one is not as expected
# check.sh show MODEL -D…    makes one search, and prints the way to the fault that it finds
set -eu
here=$(cd "$(dirname "$0")" && pwd)

# build MODEL -D…: makes the search ./pan in the working directory.
build() {
  model=$here/$1
  shift
  { spin -a "$@" "$model" && gcc "$optimise" -DSAFETY -DNOFAIR -DCOLLAPSE -DVECTORSZ=2048 -DMEMLIM=6000 -o pan pan.c; } >build.txt 2>&1 ||
    { cat build.txt; exit 2; }
}

search() {
  expected=$1
  shift
  optimise=-O1
  [ "$expected" = passes ] || optimise=-O0 # it ends soon
  build "$@"
  ./pan -m200000 -w"${TABLE_BITS:-20}" >pan.txt 2>&1 || true
  found=$(grep -m1 '^pan:1' pan.txt || true)
  states=$(awk '/states, stored/ { print $1; exit }' pan.txt)
  seconds=$(awk '/elapsed time/ { print $4; exit }' pan.txt)
  isWhole=$(grep -q -e 'Search not completed' -e 'max search depth too small' pan.txt && echo no || echo yes)
  case "$expected:$found:$isWhole" in
    passes::yes) result="passes, $states states in $seconds s" ;;
    passes:*) result="BAD: ${found:-the search was not whole}" ;;
    *:*"$expected"*:*) result="fails as it must: ${found#pan:1: }" ;;
    *) result="BAD: ${found:-nothing was found}, instead of $expected" ;;
  esac
  echo "$*: $result"
  case "$result" in BAD*) exit 1 ;; esac
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
case "${1:-small}" in
  search)
    shift
    search "$@"
    ;;
  show)
    shift
    optimise=-O0
    build "$@"
    model=$here/$1
    shift
    ./pan -m200000 -w20 | grep '^pan:1' || { echo "nothing was found"; exit 1; }
    spin -k ./*.trail -c "$@" "$model" | sed "/^-----/,$ d"
    ;;
  small | large)
    [ "${1:-small}" = small ] || export TABLE_BITS=24
    sed -n "s/^${1:-small} //p" "$here/searches.txt" | xargs -P 2 -L 1 sh "$here/check.sh" search
    ;;
  *) sed -n 's/^# check.sh/check.sh/p' "$0"; exit 2 ;;
esac
