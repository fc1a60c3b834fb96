//! A disk in memory that makes nobody wait, and gives buffers out again as direct I/O's pool does.

use ringtail::log::disk::Disk;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

#[derive(Clone, Default)]
pub(crate) struct Memory {
    files: Rc<RefCell<BTreeMap<String, File>>>,
    idle: Rc<RefCell<Vec<Vec<u8>>>>,
}

#[derive(Clone, Default)]
pub(crate) struct File(Rc<RefCell<Vec<u8>>>);

/// A buffer that goes back to its disk.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    idle: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.idle.borrow_mut().push(std::mem::take(&mut self.bytes));
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for Memory {
    type File = File;
    type Buffer = Buffer;
    type Frozen = (Rc<Buffer>, usize);

    fn frozen_bytes((_, bytes): &(Rc<Buffer>, usize)) -> usize {
        *bytes
    }

    fn buffer(&self, bytes: usize) -> Buffer {
        let mut idle = self.idle.borrow_mut();
        let fits = idle.iter().position(|buffer| buffer.len() == bytes);
        let bytes = fits.map_or_else(|| vec![0; bytes], |place| idle.swap_remove(place));
        Buffer {
            bytes,
            idle: self.idle.clone(),
        }
    }

    fn freeze(&self, buffer: Buffer, bytes: usize) -> Self::Frozen {
        (Rc::new(buffer), bytes)
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let files = self.files.borrow();
        let inside = |path: &String| Some(path.strip_prefix(folder)?.strip_prefix('/')?.to_owned());
        Ok(files.keys().filter_map(inside).collect())
    }

    async fn make_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    async fn flush_folder(&self, _folder: &str) -> io::Result<()> {
        Ok(())
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.borrow_mut();
        let file = files.remove(from).ok_or_else(absent)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        let removed = self.files.borrow_mut().remove(path);
        removed.map(|_| ()).ok_or_else(absent)
    }

    async fn create(&self, path: &str) -> io::Result<File> {
        let file = File::default();
        self.files
            .borrow_mut()
            .insert(path.to_owned(), file.clone());
        Ok(file)
    }

    async fn open(&self, path: &str) -> io::Result<File> {
        self.files.borrow().get(path).cloned().ok_or_else(absent)
    }

    async fn size(&self, file: &File) -> io::Result<u64> {
        Ok(file.0.borrow().len() as u64)
    }

    async fn write(&self, file: &File, position: u64, bytes: Self::Frozen) -> io::Result<()> {
        let (bytes, start) = (&bytes.0.bytes[..bytes.1], position as usize);
        let mut file = file.0.borrow_mut();
        let end = start + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[start..end].copy_from_slice(bytes);
        Ok(())
    }

    async fn write_durable(
        &self,
        file: &File,
        position: u64,
        bytes: Self::Frozen,
    ) -> io::Result<()> {
        self.write(file, position, bytes).await
    }

    async fn read(&self, file: &File, position: u64, bytes: usize) -> io::Result<Buffer> {
        let file = file.0.borrow();
        let start = file.len().min(position as usize);
        let end = file.len().min(start + bytes);
        Ok(Buffer {
            bytes: file[start..end].to_vec(),
            idle: self.idle.clone(),
        })
    }

    async fn flush(&self, _file: &File) -> io::Result<()> {
        Ok(())
    }

    async fn close(&self, _file: File) -> io::Result<()> {
        Ok(())
    }
}
