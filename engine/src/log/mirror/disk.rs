//! A mirror as a disk: what changes something goes to all members, what reads to one that has caught up.

use super::super::disk::{Disk, Keepers};
use super::call::{self, Lag, Order};
use super::changes::Touch;
use super::member;
use super::seat::Opening;
use super::{Mirror, MirrorFile};
use std::cell::Cell;
use std::io;
use std::rc::Rc;

impl<D: Disk> Mirror<D> {
    async fn fan<T, F>(
        &self,
        order: Order<D>,
        act: impl Fn(call::Target<D>) -> F,
    ) -> io::Result<Vec<(u32, T)>>
    where
        T: 'static,
        F: Future<Output = io::Result<T>> + 'static,
    {
        self.shared.gate().await;
        call::fan(&self.shared, order, act).await
    }

    /// Does the same with names on all.
    async fn rename_all<F>(
        &self,
        names: &[&str],
        act: impl Fn(call::Target<D>) -> F,
    ) -> io::Result<()>
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let order = Order {
            touch: Touch::Names(names),
            ..Order::default()
        };
        self.fan(order, act).await.map(drop)
    }

    async fn open_all<F>(
        &self,
        path: &str,
        touch: Touch<D>,
        act: impl Fn(call::Target<D>) -> F,
    ) -> io::Result<MirrorFile<D>>
    where
        F: Future<Output = io::Result<D::File>> + 'static,
    {
        let order = Order {
            touch,
            ..Order::default()
        };
        self.shared.gate().await;
        let opening = Opening::begin(&self.shared);
        let files = call::fan(&self.shared, order, act).await?;
        let file = MirrorFile::new(&self.shared, path, files);
        drop(opening);
        Ok(file)
    }

    /// The volumes in service, those that lag least first: where to read.
    pub fn readable(&self) -> Vec<u32> {
        let seats = self.shared.seats.borrow();
        let mut seats: Vec<_> = seats.iter().filter(|seat| seat.disk.is_some()).collect();
        seats.sort_by_key(|seat| seat.lag_bytes());
        seats.iter().map(|seat| seat.volume).collect()
    }

    /// Asks one volume after the other until one answers.
    async fn ask<T, F>(
        &self,
        file: Option<&MirrorFile<D>>,
        act: impl Fn(call::Target<D>) -> F,
    ) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut first = None;
        for volume in self.readable() {
            match self.ask_one(volume, file, &act).await {
                Ok(answer) => return Ok(answer),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.unwrap_or_else(member::nobody))
    }

    async fn ask_one<T, F>(
        &self,
        volume: u32,
        file: Option<&MirrorFile<D>>,
        act: impl Fn(call::Target<D>) -> F,
    ) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        self.caught_up(volume).await;
        let handles = file.map(|file| &*file.handles);
        act(self.shared.target(volume, handles)?).await
    }
}

impl<D: Disk> Disk for Mirror<D> {
    type File = MirrorFile<D>;
    type Buffer = D::Buffer;
    type Frozen = D::Frozen;

    fn frozen_bytes(frozen: &D::Frozen) -> usize {
        D::frozen_bytes(frozen)
    }

    fn buffer(&self, bytes: usize) -> D::Buffer {
        self.shared.maker.buffer(bytes)
    }

    fn freeze(&self, buffer: D::Buffer, bytes: usize) -> D::Frozen {
        self.shared.maker.freeze(buffer, bytes)
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.ask(None, |on| async move { on.disk.list(folder).await })
            .await
    }

    async fn make_folder(&self, folder: &str) -> io::Result<()> {
        let path: Rc<str> = folder.into();
        self.rename_all(&[], move |on| {
            let path = path.clone();
            async move { on.disk.make_folder(&path).await }
        })
        .await
    }

    async fn flush_folder(&self, folder: &str) -> io::Result<()> {
        let path: Rc<str> = folder.into();
        self.rename_all(&[], move |on| {
            let path = path.clone();
            async move { on.disk.flush_folder(&path).await }
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (old, new): (Rc<str>, Rc<str>) = (from.into(), to.into());
        let followed = Rc::new(Cell::new(false));
        let act = move |on: call::Target<D>| {
            let (old, new, shared) = (old.clone(), new.clone(), self.shared.clone());
            let followed = followed.clone();
            async move {
                on.disk.rename(&old, &new).await?;
                if !followed.replace(true) {
                    shared.follow_rename(&old, &new);
                }
                Ok(())
            }
        };
        self.rename_all(&[from, to], act).await
    }

    /// A member that has no such file is as it should be; it is an error when none has it.
    async fn remove(&self, path: &str) -> io::Result<()> {
        let name: Rc<str> = path.into();
        let followed = Rc::new(Cell::new(false));
        let act = move |on: call::Target<D>| {
            let (name, shared) = (name.clone(), self.shared.clone());
            let followed = followed.clone();
            async move {
                match on.disk.remove(&name).await {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    removed => removed?,
                }
                if !followed.replace(true) {
                    shared.follow_removal(&name);
                }
                Ok(true)
            }
        };
        let order = Order {
            touch: Touch::Names(vec![path.to_owned()]),
            ..Order::default()
        };
        let removed = self.fan(order, act).await?;
        let was_there = removed.iter().any(|(_, was_there)| *was_there);
        was_there
            .then_some(())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    async fn create(&self, path: &str) -> io::Result<MirrorFile<D>> {
        let name: Rc<str> = path.into();
        self.open_all(path, Touch::Names(vec![path.to_owned()]), move |on| {
            let name = name.clone();
            async move { on.disk.create(&name).await }
        })
        .await
    }

    async fn open(&self, path: &str) -> io::Result<MirrorFile<D>> {
        let name: Rc<str> = path.into();
        self.open_all(path, Touch::Nothing, move |on| {
            let name = name.clone();
            async move { on.disk.open(&name).await }
        })
        .await
    }

    async fn size(&self, file: &MirrorFile<D>) -> io::Result<u64> {
        self.ask(
            Some(file),
            |on| async move { on.disk.size(on.file()?).await },
        )
        .await
    }

    async fn write(&self, file: &MirrorFile<D>, position: u64, bytes: D::Frozen) -> io::Result<()> {
        let length = D::frozen_bytes(&bytes) as u64;
        let order = Order::write(&file.handles, position, length, Lag::Never);
        let act = move |on: call::Target<D>| {
            let bytes = bytes.clone();
            async move { on.disk.write(on.file()?, position, bytes).await }
        };
        self.fan(order, act).await.map(drop)
    }

    async fn write_durable(
        &self,
        file: &MirrorFile<D>,
        position: u64,
        bytes: D::Frozen,
    ) -> io::Result<()> {
        let length = D::frozen_bytes(&bytes) as u64;
        let order = Order::write(&file.handles, position, length, Lag::Allowed);
        let act = move |on: call::Target<D>| {
            let bytes = bytes.clone();
            async move { on.disk.write_durable(on.file()?, position, bytes).await }
        };
        self.fan(order, act).await.map(drop)
    }

    async fn read(
        &self,
        file: &MirrorFile<D>,
        position: u64,
        bytes: usize,
    ) -> io::Result<D::Buffer> {
        let act =
            |on: call::Target<D>| async move { on.disk.read(on.file()?, position, bytes).await };
        self.ask(Some(file), act).await
    }

    fn copies(&self) -> usize {
        self.shared.in_service().len()
    }

    async fn read_copy(
        &self,
        copy: usize,
        file: &MirrorFile<D>,
        position: u64,
        bytes: usize,
    ) -> io::Result<D::Buffer> {
        let volume = self.shared.in_service().get(copy).copied();
        let volume = volume.ok_or_else(member::nobody)?;
        let act =
            |on: call::Target<D>| async move { on.disk.read(on.file()?, position, bytes).await };
        self.ask_one(volume, Some(file), act).await
    }

    fn keepers(&self) -> Keepers {
        Keepers {
            members: self.members(),
            volumes_min: self.shared.rules.volumes_min,
            durable_volumes: self.shared.rules.durable_volumes,
            shortage: self.shortage().map(|few| few.to_string()),
        }
    }

    fn shift(&self) -> u64 {
        self.shared.shift.get()
    }

    async fn shifted(&self, seen: u64) {
        let shared = &self.shared;
        shared.shifts.until(|| seen < shared.shift.get()).await;
    }

    fn confirm(&self, shift: u64) {
        self.shared.confirm(shift);
    }

    async fn flush(&self, file: &MirrorFile<D>) -> io::Result<()> {
        let order = Order {
            handles: Some(file.handles.clone()),
            lag: Lag::Allowed,
            ..Order::default()
        };
        let act = |on: call::Target<D>| async move { on.disk.flush(on.file()?).await };
        self.fan(order, act).await.map(drop)
    }

    async fn close(&self, file: MirrorFile<D>) -> io::Result<()> {
        let handles = file.handles.clone();
        let order = Order {
            handles: Some(handles.clone()),
            ..Order::default()
        };
        drop(file);
        let act = move |mut on: call::Target<D>| {
            // The job's handle is the last one then.
            handles.forget(on.volume);
            async move {
                match on.file.take().map(Rc::try_unwrap) {
                    Some(Ok(file)) => on.disk.close(file).await,
                    // A read goes on: the file is closed when that ends.
                    _ => Ok(()),
                }
            }
        };
        self.fan(order, act).await.map(drop)
    }
}
