// webtorrent as a process: TORRENT FOLDER PORT; one JSON object a line.
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { fileURLToPath } from 'node:url'
import path from 'node:path'

const here = path.dirname(fileURLToPath(import.meta.url))
const require = createRequire(path.join(here, '..', 'npm', 'package.json'))
const { default: WebTorrent } = await import(pathToFileURL(require.resolve('webtorrent')))
const [torrent, folder, port] = process.argv.slice(2)
const client = new WebTorrent({
  dht: false, lsd: false, tracker: false, utPex: false, webSeeds: false, utp: false,
  natUpnp: false, natPmp: false, torrentPort: Number(port)
})
client.on('error', error => { console.log(JSON.stringify({ error: String(error) })); process.exit(1) })
const t = client.add(torrent, { path: folder })
setInterval(() => console.log(JSON.stringify({ done: t.done, progress: t.progress, peers: t.numPeers })), 100)
