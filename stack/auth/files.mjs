// Where Storage keeps the bytes: one file per object under a directory, beside it a small JSON with its HTTP metadata.
// File names are digests, so no object name can leave the directory, clash with a folder or be too long.
import { createHash, randomUUID } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { copyFile, mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

const digest = (text) => createHash("sha256").update(text).digest("hex");

export class FileStore {
  driver = null;

  /** @param root directory for the files */
  constructor(root) {
    this.root = root;
  }

  path(bucket, key) {
    return join(this.root, digest(bucket).slice(0, 16), digest(`${bucket}/${key}`));
  }

  async uploadObject(bucket, key, _version, body, contentType, cacheControl) {
    const path = this.path(bucket, key);
    const partial = `${path}.${randomUUID()}`;
    const hash = createHash("md5");
    let size = 0;
    async function* counted(source) {
      for await (const chunk of source) {
        size += chunk.length;
        hash.update(chunk);
        yield chunk;
      }
    }
    await mkdir(join(path, ".."), { recursive: true });
    try {
      const source = body instanceof Uint8Array ? [body] : Readable.fromWeb(body);
      await pipeline(source, counted, createWriteStream(partial));
      // Readers see the old object or the new one, never half of it.
      await rename(partial, path);
    } catch (error) {
      await rm(partial, { force: true });
      throw error;
    }
    const facts = { mimetype: contentType, cacheControl, eTag: `"${hash.digest("hex")}"` };
    await writeFile(`${path}.json`, JSON.stringify(facts));
    return { ...facts, size, contentLength: size, lastModified: new Date() };
  }

  async headObject(bucket, key) {
    const path = this.path(bucket, key);
    const [facts, { size, mtime }] = await Promise.all([readFile(`${path}.json`, "utf8").then(JSON.parse), stat(path)]);
    return { ...facts, size, contentLength: size, lastModified: mtime };
  }

  async getObject(bucket, key, _version, headers) {
    const metadata = await this.headObject(bucket, key);
    if (headers?.ifNoneMatch === metadata.eTag) return { httpStatusCode: 304, metadata };
    return { httpStatusCode: 200, metadata, body: Readable.toWeb(createReadStream(this.path(bucket, key))) };
  }

  async deleteObject(bucket, key) {
    const path = this.path(bucket, key);
    await Promise.all([rm(path, { force: true }), rm(`${path}.json`, { force: true })]);
  }

  async deleteObjects(bucket, keys) {
    await Promise.all(keys.map((key) => this.deleteObject(bucket, key)));
  }

  async copyObject(sourceBucket, source, _version, destinationBucket, destination) {
    const from = this.path(sourceBucket, source);
    const to = this.path(destinationBucket, destination);
    await mkdir(join(to, ".."), { recursive: true });
    await Promise.all([copyFile(from, to), copyFile(`${from}.json`, `${to}.json`)]);
    const { eTag, lastModified } = await this.headObject(destinationBucket, destination);
    return { httpStatusCode: 200, eTag, lastModified };
  }

  async privateAssetUrl(bucket, key) {
    return `file://${this.path(bucket, key)}`;
  }
}
