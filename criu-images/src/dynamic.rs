//! The dynamic view: any record as fields by name, unknown ones kept.

use std::io::BufRead;
use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

use crate::error::{Defect, Result};
use crate::image::Record;
use crate::schema::Schema;

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!("proto/descriptors.bin");
    DescriptorPool::decode(&bytes[..]).expect("checked in beside the tables made with it")
});

impl Schema {
    /// The message as `prost-reflect` describes it. What CRIU declares a `string` is
    /// `bytes` in it, as in the [raw layer](crate::proto).
    pub fn descriptor(self) -> MessageDescriptor {
        POOL.get_message_by_name(self.name())
            .expect("descriptors and tables are made of one schema")
    }
}

impl<R: BufRead> Record<'_, R> {
    /// The record as fields by name.
    ///
    /// Its `encode_to_vec` is what [`ImageWriter::record`](crate::ImageWriter::record)
    /// takes. Fields the schema does not have are kept; bytes are the same if the fields
    /// came in ascending order, as CRIU writes them.
    ///
    /// # Errors
    /// If the record is not a valid message, or a required field is missing.
    pub fn dynamic(&self) -> Result<DynamicMessage> {
        self.check()?;
        let descriptor = self.schema().descriptor();
        DynamicMessage::decode(descriptor, self.bytes())
            .map_err(|_| self.malformed(Defect::Wire { at: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::tables;
    use crate::wire;

    #[test]
    fn every_table_has_its_descriptor() {
        for table in tables::ALL {
            let descriptor = Schema(table).descriptor();
            let names: Vec<_> = table.fields.iter().map(|f| f.name).collect();
            let mut fields: Vec<_> = descriptor.fields().collect();
            fields.sort_by_key(prost_reflect::FieldDescriptor::number);
            assert_eq!(fields.iter().map(|f| f.name()).collect::<Vec<_>>(), names);
        }
    }

    /// No decoder here may drop what a newer CRIU wrote.
    #[test]
    fn unknown_fields_survive_an_edit() {
        let schema = tables::PSTREE_ENTRY.fields.len();
        assert_eq!(schema, 5);
        let mut bytes = vec![8, 1, 16, 2, 24, 3, 32, 4];
        bytes.extend([0xfa, 0x3f, 3, b'n', b'e', b'w']);
        wire::check_presence(&tables::PSTREE_ENTRY, &bytes).unwrap();
        let descriptor = Schema(&tables::PSTREE_ENTRY).descriptor();
        let mut message = DynamicMessage::decode(descriptor, &bytes[..]).unwrap();
        message.set_field_by_name("ppid", prost_reflect::Value::U32(9));
        bytes[3] = 9;
        assert_eq!(prost::Message::encode_to_vec(&message), bytes);
    }
}
