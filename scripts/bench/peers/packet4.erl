%% A yardstick: length-prefixed echo as Erlang does it, `{packet, 4}` and a process for each connection.
%%
%% `delay_send` lets the driver gather what is answered in one turn; a hundred messages arrive before it is asked again.
-module(packet4).
-export([start/0]).

-define(MAX_FRAME, 1048576).
-define(AT_ONCE, 100).

start() ->
    {ok, Listener} = gen_tcp:listen(0, [
        binary, {ip, {127, 0, 0, 1}}, {packet, 4}, {packet_size, ?MAX_FRAME}, {active, false},
        {nodelay, true}, {delay_send, true}, {backlog, 4096}
    ]),
    {ok, Port} = inet:port(Listener),
    io:format("listening on 127.0.0.1:~b~n", [Port]),
    accept(Listener).

accept(Listener) ->
    {ok, Socket} = gen_tcp:accept(Listener),
    Process = spawn(fun() -> receive yours -> read_on(Socket) end end),
    ok = gen_tcp:controlling_process(Socket, Process),
    Process ! yours,
    accept(Listener).

read_on(Socket) ->
    case inet:setopts(Socket, [{active, ?AT_ONCE}]) of
        ok -> echo(Socket);
        _ -> gen_tcp:close(Socket)
    end.

echo(Socket) ->
    receive
        {tcp, Socket, Payload} -> ok = gen_tcp:send(Socket, Payload), echo(Socket);
        {tcp_passive, Socket} -> read_on(Socket);
        {tcp_error, Socket, _} -> gen_tcp:close(Socket);
        {tcp_closed, Socket} -> ok
    end.
