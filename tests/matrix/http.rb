# Ruby's HTTP client. usage: ruby http.rb HOST PORT SECONDS
require "net/http"

begin
  http = Net::HTTP.new(ARGV[0], ARGV[1].to_i)
  http.open_timeout = ARGV[2].to_f
  response = http.get("/")
  puts "#{response.code} #{response.body}"
rescue SystemCallError, SocketError, Timeout::Error => error
  puts "#{error.class} #{error.message}"
end
