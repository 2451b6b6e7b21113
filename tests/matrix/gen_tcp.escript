#!/usr/bin/env escript
%% Erlang's gen_tcp. usage: escript gen_tcp.escript HOST PORT SECONDS

main([Host, Port, Seconds]) ->
    Timeout = list_to_integer(Seconds) * 1000,
    case gen_tcp:connect(Host, list_to_integer(Port), [binary, {active, false}], Timeout) of
        {ok, Socket} ->
            {ok, Peer} = inet:peername(Socket),
            io:format("connected to ~p~n", [Peer]),
            read(Socket);
        {error, Reason} ->
            io:format("~p: ~s~n", [Reason, inet:format_error(Reason)])
    end.

read(Socket) ->
    case gen_tcp:recv(Socket, 0) of
        {ok, Data} ->
            io:put_chars(Data),
            read(Socket);
        {error, Reason} ->
            io:format("~p~n", [Reason])
    end.
