# No signals to others, no endless computing, and a recorder also for what this machine does not have.
enable -n kill
ulimit -t 20
command_not_found_handle() {
    ROLLBENCH_CALLED=$1 "@RECORDER@" "${@:2}"
}
