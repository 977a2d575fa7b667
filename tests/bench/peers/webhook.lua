-- Load for wrk: Sonar's webhook, each with a task of its own and signed anew, so that whoever looks for calls that came
-- before does all of its work. The digest is libcrypto's, which wrk brings along. From the environment: BODY is a file
-- that holds TASK, SECRET signs, CLOSE=1 asks for a new connection each time, WRONG=1 sends signatures that are wrong,
-- each from an address of its own behind a proxy.
local ffi = require("ffi")
ffi.cdef[[
const void *EVP_sha256(void);
unsigned char *HMAC(const void *digest, const void *key, int key_length, const unsigned char *data, size_t length,
                    unsigned char *out, unsigned int *out_length);
int getpid(void);
]]
local found = pcall(function() return ffi.C.EVP_sha256() end)
local crypto = found and ffi.C or ffi.load("libcrypto.so.3")

local secret, close, wrong = os.getenv("SECRET"), os.getenv("CLOSE") == "1", os.getenv("WRONG") == "1"
local file = assert(io.open(os.getenv("BODY"), "rb"))
local body = file:read("*a")
file:close()
local first, last = body:find("TASK", 1, true)
local before, after = body:sub(1, first - 1), body:sub(last + 1)
local digest, digest_length = ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")
local hex = {}
for byte = 0, 255 do hex[byte] = string.format("%02x", byte) end

local function signature(text)
    crypto.HMAC(crypto.EVP_sha256(), secret, #secret, text, #text, digest, digest_length)
    local digits = {}
    for at = 0, 31 do digits[at + 1] = hex[digest[at]] end
    return table.concat(digits)
end

local threads = {}
function setup(thread)
    thread:set("number", #threads + 1)
    table.insert(threads, thread)
end

function init()
    sent, accepted, refused, other = 0, 0, 0, 0
    -- Of this run alone.
    run = string.format("%05d%d", ffi.C.getpid() % 100000, number)
end

function request()
    sent = sent + 1
    local text = before .. string.format("%s%014d", run, sent):sub(1, 20) .. after
    local headers = {
        ["Content-Type"] = "application/json; charset=UTF-8",
        ["X-SonarQube-Project"] = "pulse",
        ["X-Sonar-Webhook-HMAC-SHA256"] = wrong and string.rep("0", 64) or signature(text),
    }
    if close then headers["Connection"] = "close" end
    if wrong then
        headers["X-Forwarded-For"] = string.format("10.%d.%d.%d", sent / 65536 % 256, sent / 256 % 256, sent % 256)
    end
    return wrk.format("POST", nil, headers, text)
end

function response(status)
    if status >= 200 and status < 300 then
        accepted = accepted + 1
    elseif status == 401 then
        refused = refused + 1
    else
        other = other + 1
    end
end

function done(summary, latency)
    local sums = { accepted = 0, refused = 0, other = 0 }
    for _, thread in ipairs(threads) do
        for name, sum in pairs(sums) do sums[name] = sum + thread:get(name) end
    end
    local errors = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d %d\n", summary.duration, sums.accepted, sums.refused, sums.other,
        errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(99)))
end
