// What many would write: Node's HTTP server checks the signature and appends the body to a file, synced before the answer.
const http = require('http'), crypto = require('crypto'), fs = require('fs');
const { PORT, SECRET, FILE } = process.env;
const file = fs.openSync(FILE, 'a');
http.createServer((request, response) => {
  const chunks = [];
  let length = 0;
  request.on('data', chunk => {
    length += chunk.length;
    if (length > 1 << 20) return request.destroy();
    chunks.push(chunk);
  });
  request.on('end', () => {
    const body = Buffer.concat(chunks);
    const right = crypto.createHmac('sha256', SECRET).update(body).digest();
    const given = Buffer.from(request.headers['x-sonar-webhook-hmac-sha256'] || '', 'hex');
    const answer = status => { response.writeHead(status); response.end(); };
    if (given.length !== 32 || !crypto.timingSafeEqual(right, given)) return answer(401);
    try { JSON.parse(body); } catch { return answer(400); }
    const done = error => answer(error ? 500 : 202);
    fs.write(file, Buffer.concat([body, Buffer.from('\n\x1e')]), error => error ? done(error) : fs.fdatasync(file, done));
  });
}).listen(+PORT, '127.0.0.1');
