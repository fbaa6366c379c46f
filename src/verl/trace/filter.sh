#!@BASH@
# The real program, unless it is given what is not known.
name=${0##*/}
for word in "$@"; do
    case $word in *"@MARK@"*)
        printf '%s\n' "@MARK@$name@"
        exit
        ;;
    esac
done
case $name in
    cat | cut | grep | head | sed | sort | tail | tr | wc)
        IFS= read -r -d '' input
        case $input in *"@MARK@"*)
            printf '%s\n' "@MARK@$name@"
            exit
            ;;
        esac
        printf '%s' "$input" | "@REALS@/$name" "$@"
        ;;
    *) exec "@REALS@/$name" "$@" ;;
esac
