# Completes commands of parley in fish. parley itself says what may stand at the cursor.

function __parley_ask
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -g __parley_candidates
    command -q -- $program; or return 0
    set -l answer ($program help completion fish -- $words "$current" 2>/dev/null </dev/null)
    set -g __parley_candidates $answer[2..]
    switch "$answer[1]"
        case files
            return 1 # fish completes files where no candidates are set
        case folders
            set -l flag (string match -r -- '^--[^=]*=' $current)
            set -l folders (__fish_complete_directories (string replace -- "$flag" '' $current) '')
            set -g __parley_candidates "$flag"$folders
        case command
            set -l ending (contains -i -- -- $words)
            set -l before (string escape -- $words[(math $ending + 1)..])
            set -g __parley_candidates (complete -C "$before $current")
    end
    return 0
end

complete -c parley -e
complete -c parley -n __parley_ask -f -a '$__parley_candidates'
