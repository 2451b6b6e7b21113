// .NET's sockets, asynchronous. usage: dotnet exec Sockets.exe HOST PORT SECONDS
using System;
using System.IO;
using System.Net.Sockets;
using System.Threading;
using System.Threading.Tasks;

public static class Sockets
{
    public static int Main(string[] arguments)
    {
        try
        {
            Speak(arguments[0], int.Parse(arguments[1]), int.Parse(arguments[2])).Wait();
        }
        catch (AggregateException error)
        {
            var cause = error.InnerException;
            var socket = cause as SocketException;
            Console.WriteLine(cause.GetType().Name + " " + cause.Message + (socket == null ? "" : " " + socket.SocketErrorCode));
        }
        return 0;
    }

    private static async Task Speak(string host, int port, int seconds)
    {
        using (var client = new TcpClient())
        {
            var connect = client.ConnectAsync(host, port);
            if (await Task.WhenAny(connect, Task.Delay(seconds * 1000)) != connect)
            {
                Console.WriteLine("not within the program's own timeout");
                Environment.Exit(3);
            }
            await connect;
            Console.WriteLine("connected to " + client.Client.RemoteEndPoint);
            Console.WriteLine(await new StreamReader(client.GetStream()).ReadToEndAsync());
        }
    }
}
