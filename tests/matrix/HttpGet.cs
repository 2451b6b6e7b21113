// .NET's HTTP client. usage: dotnet exec HttpGet.exe HOST PORT SECONDS
using System;
using System.Net.Http;
using System.Threading.Tasks;

public static class HttpGet
{
    public static void Main(string[] arguments)
    {
        using (var client = new HttpClient { Timeout = TimeSpan.FromSeconds(int.Parse(arguments[2])) })
        {
            try
            {
                Console.WriteLine(client.GetStringAsync("http://" + arguments[0] + ":" + arguments[1] + "/").Result);
            }
            catch (AggregateException error)
            {
                for (var cause = error.InnerException; cause != null; cause = cause.InnerException)
                {
                    Console.WriteLine(cause.GetType().Name + " " + cause.Message);
                }
            }
        }
    }
}
