%% packet4.erl: gen_tcp with {packet,4}, as it comes.
%%
%%     client PORT   holds a conversation in bare frames
%%     login PORT    takes hello, logs in as nobody, talks, and leaves with FIN
%%     server        says its port, and answers each message backwards until its peer is gone

-module(packet4).
-export([main/1]).
-define(WAIT, 20000).

main(["client", Port]) ->
    Socket = dial(Port),
    Payloads = [<<>>, <<"x">>, <<"привет"/utf8>>, binary:copy(<<"abcdefg">>, 10000), binary:copy(<<0, 255>>, 524288)],
    lists:foreach(fun(Payload) -> Payload = ask(Socket, Payload) end, Payloads),
    Numbers = [integer_to_binary(N) || N <- lists:seq(1, 1000)],
    lists:foreach(fun(Number) -> ok = gen_tcp:send(Socket, Number) end, Numbers),
    Numbers = [take(Socket) || _ <- Numbers],
    ok = gen_tcp:shutdown(Socket, write),
    done(Socket);
main(["login", Port]) ->
    Socket = dial(Port),
    {match, _} = re:run(take(Socket), "\"protocol\":\"parley/1\""),
    Welcome = ask(Socket, <<"{\"type\":\"login\",\"method\":\"none\"}">>),
    {match, _} = re:run(Welcome, "\"type\":\"welcome\""),
    <<"hello">> = ask(Socket, <<"hello">>),
    ok = gen_tcp:send(Socket, <<"last">>),
    ok = gen_tcp:shutdown(Socket, write),
    <<"last">> = take(Socket),
    done(Socket);
main(["server"]) ->
    {ok, Listener} = gen_tcp:listen(0, [binary, {packet, 4}, {active, false}, {ip, {127, 0, 0, 1}}]),
    {ok, Port} = inet:port(Listener),
    io:format("~b~n", [Port]),
    {ok, Socket} = gen_tcp:accept(Listener, ?WAIT),
    answer(Socket).

dial(Port) ->
    {ok, Socket} = gen_tcp:connect({127, 0, 0, 1}, list_to_integer(Port), [binary, {packet, 4}, {active, false}]),
    Socket.

ask(Socket, Payload) ->
    ok = gen_tcp:send(Socket, Payload),
    take(Socket).

take(Socket) ->
    {ok, Payload} = gen_tcp:recv(Socket, 0, ?WAIT),
    Payload.

done(Socket) ->
    {error, closed} = gen_tcp:recv(Socket, 0, ?WAIT),
    io:format("all came back~n").

answer(Socket) ->
    case gen_tcp:recv(Socket, 0, ?WAIT) of
        {ok, Payload} ->
            ok = gen_tcp:send(Socket, lists:reverse(binary_to_list(Payload))),
            answer(Socket);
        {error, closed} ->
            io:format("gone~n")
    end.
