# What ActiveRecord learns about "users", and whether it can use it: a line for
# each question, with the answer or the error.  An argument is an SQL statement
# to run first, by a process that has used the table already.  SCHEMA_CACHE is a
# file in which the first process leaves what it has learned, for later ones.

require 'active_record'
require 'securerandom'

ActiveRecord::Base.establish_connection(adapter: 'postgresql')
CONNECTION = ActiveRecord::Base.connection

class User < ActiveRecord::Base
end

class Told < ActiveRecord::Base
  self.table_name = 'users'
  self.primary_key = 'id'
end

class Order < ActiveRecord::Base
  belongs_to :user
end

def ask(question)
  answer = begin
    yield.inspect
  rescue StandardError, NotImplementedError => e
    "#{e.class}: #{e.message.lines.first.strip}"
  end
  puts "#{question}: #{answer}"
end

def email
  "#{SecureRandom.hex(8)}@example.com"
end

if ENV['SCHEMA_CACHE'] && File.exist?(ENV['SCHEMA_CACHE'])
  cache = ActiveRecord::ConnectionAdapters::SchemaCache.load_from(ENV['SCHEMA_CACHE'])
  cache.connection = CONNECTION
  ActiveRecord::Base.connection_pool.set_schema_cache(cache)
elsif ENV['SCHEMA_CACHE']
  CONNECTION.schema_cache.dump_to(ENV['SCHEMA_CACHE'])
end

if ARGV[0]
  User.upsert_all([{ name: 'first', email: 'first@example.com' }], unique_by: :email)
  CONNECTION.execute(ARGV[0])
end

puts "# activerecord #{ActiveRecord.version}"
ask('table_exists?') { CONNECTION.table_exists?('users') }
ask('data_source_exists?') { CONNECTION.data_source_exists?('users') }
ask('tables of the schema dump') { CONNECTION.tables.include?('users') }
ask('primary_key') { CONNECTION.primary_key('users') }
ask('pk_and_sequence_for') { CONNECTION.pk_and_sequence_for('users')&.map(&:to_s) }
CONNECTION.columns('users').each do |c|
  ask("column #{c.name}") { [c.sql_type, c.default, c.default_function, c.null] }
end
ask('indexes') { CONNECTION.indexes('users').map(&:columns) }
ask('foreign keys of orders') { CONNECTION.foreign_keys('orders').map(&:to_table) }
ask('Model.primary_key') { User.primary_key }
ask('Model.new, defaults') { User.new.attributes.slice('name', 'active') }
ask('create') { User.create!(name: 'a', email: email).id.class }
ask('find') { User.find(1).name }
ask('first') { User.first.id }
ask('update') { User.where(name: 'first').take.update!(active: true) }
ask('touch a row that was read') { User.where(name: 'first').take.reload.name }
ask('destroy') { User.create!(name: 'gone', email: email).destroy.destroyed? }
ask('find_or_create_by') { User.find_or_create_by!(email: 'first@example.com').name }
ask('belongs_to') { Order.create!(user_id: 1).user.name }
ask('insert_all') { User.insert_all([{ name: 'b', email: email }]).length }
ask('upsert_all') { User.upsert_all([{ id: 1, name: 'first', email: 'first@example.com' }]).length }
ask('upsert_all, unique_by') do
  User.upsert_all([{ name: 'first', email: 'first@example.com' }], unique_by: :email).length
end
ask('joins, group by the key') do
  User.joins('JOIN orders ON orders.user_id = users.id').group('users.id').select('users.*, count(*) AS n').to_a.length
end
ask('lock') { User.transaction { User.lock.where(name: 'first').take.name } }
ask('find_each') { User.find_each.count > 0 }
ask('with primary_key set: create') { Told.create!(name: 'c', email: email).id.class }
ask('with primary_key set: find') { Told.find(1).name }
ask('with primary_key set: update') { Told.find(1).update!(active: true) }
ask('with primary_key set: upsert_all') do
  Told.upsert_all([{ id: 1, name: 'first', email: 'first@example.com' }]).length
end
ask('with primary_key set: upsert_all, unique_by') do
  Told.upsert_all([{ name: 'first', email: 'first@example.com' }], unique_by: :email).length
end
ask('with primary_key set: find_each') { Told.find_each.count > 0 }
ask('with primary_key set: destroy') { Told.create!(name: 'gone', email: email).destroy.destroyed? }
ask('reset_pk_sequence!') { CONNECTION.reset_pk_sequence!('users').class }
ask('add_column') { ActiveRecord::Base.transaction { CONNECTION.add_column('users', 'extra', :text); raise ActiveRecord::Rollback } }
ask('add_index') { ActiveRecord::Base.transaction { CONNECTION.add_index('users', 'name'); raise ActiveRecord::Rollback } }
ask('truncate') { ActiveRecord::Base.transaction { CONNECTION.execute('TRUNCATE users CASCADE'); raise ActiveRecord::Rollback } }
