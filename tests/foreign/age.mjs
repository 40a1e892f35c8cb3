// age's own JavaScript library at the command line, for the tests alone: standard input to standard output.
//   node age.mjs generate pq|x25519      node age.mjs recipient IDENTITY
//   node age.mjs encrypt RECIPIENT…      node age.mjs decrypt IDENTITY…
//   node age.mjs testkit                 the vectors of the age testkit, as one JSON object of base64
import { buffer } from "node:stream/consumers";
import * as age from "age-encryption";

const commands = {
  generate: ([kind]) => (kind === "pq" ? age.generateHybridIdentity() : age.generateX25519Identity()),
  recipient: ([identity]) => age.identityToRecipient(identity),
  async encrypt(recipients) {
    const encrypter = new age.Encrypter();
    recipients.forEach((recipient) => encrypter.addRecipient(recipient));
    return encrypter.encrypt(await buffer(process.stdin));
  },
  async decrypt(identities) {
    const decrypter = new age.Decrypter();
    identities.forEach((identity) => decrypter.addIdentity(identity));
    return decrypter.decrypt(await buffer(process.stdin));
  },
  async testkit() {
    const vectors = Object.entries(await import("cctv-age"));
    return JSON.stringify(Object.fromEntries(vectors.map(([name, raw]) => [name, Buffer.from(raw).toString("base64")])));
  },
};

const [command, ...rest] = process.argv.slice(2);
process.stdout.write(await commands[command](rest));
