#!@BASH@
# Notes how it was called, and answers what nobody can take for a value.
name=${ROLLBENCH_CALLED:-${0##*/}}
printf '%s\0' "$name" "$@" > "@RECORDS@/${EPOCHREALTIME/[.,]/}.$$"
case $name in
    chmod | cp | git | kill | ln | mkdir | mv | rm | sleep | touch) ;;
    *) printf '%s\n' "@MARK@$name@" ;;
esac
