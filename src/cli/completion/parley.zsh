#compdef parley
# Completes commands of parley in zsh. parley itself says what may stand at the cursor.

_parley() {
  local program=${(Q)words[1]} kind value about
  local -a lines candidates
  lines=("${(@f)$("${program/#\~\//$HOME/}" help completion zsh -- "${(@Q)words[1,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
  case $lines[1] in
    words)
      for kind in "${(@)lines[2,-1]}"; do
        value=${kind%%$'\t'*} about=${kind#*$'\t'}
        candidates+=("${${value//\\/\\\\}//:/\\:}${about:+:$about}")
      done
      _describe -t parley parley candidates
      ;;
    files)
      [[ $PREFIX == --*=* ]] && compset -P 1 '*='
      _files
      ;;
    folders)
      [[ $PREFIX == --*=* ]] && compset -P 1 '*='
      _files -/
      ;;
    command)
      local -i ending=${words[(i)--]}
      shift $ending words
      (( CURRENT -= ending ))
      _normal
      ;;
    *) return 1 ;;
  esac
}

# As a file in $fpath this text is the function's body at its first call; otherwise it is only read.
if [[ $funcstack[1] == _parley ]]; then
  _parley "$@"
else
  compdef _parley parley
fi
